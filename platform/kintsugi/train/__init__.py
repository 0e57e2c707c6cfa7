"""The training loop, and Ray around it."""
