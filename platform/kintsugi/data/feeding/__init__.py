"""How samples come from data tasks to the process that trains: who waits, who joins."""
