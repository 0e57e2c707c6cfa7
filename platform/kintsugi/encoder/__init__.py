"""Training of an encoder of our own, from a teacher's features."""
