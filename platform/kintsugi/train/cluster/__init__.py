"""Ray Train around a run: what it says, what it keeps, what is called from it."""
