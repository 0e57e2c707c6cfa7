"""Holes that are drawn from a seed."""
