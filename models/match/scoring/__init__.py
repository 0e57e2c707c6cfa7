"""Scores of the exact match: its blocks, their error, and who may win."""
