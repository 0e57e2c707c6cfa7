"""What a run shows while it trains: terminal, log, event files."""
