"""Benchmark of the match: measured in fresh processes, against the published form."""
