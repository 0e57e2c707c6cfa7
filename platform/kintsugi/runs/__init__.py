"""A run's folder: its lease, checkpoints, metrics and start."""
