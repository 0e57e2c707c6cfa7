"""Copying pixel by pixel: searches, votes and what a source costs."""
