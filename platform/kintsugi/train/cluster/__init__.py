"""Ray Train around a run: what it needs, says and keeps, and what is called from it."""
