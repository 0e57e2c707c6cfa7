"""Benchmark of the match: measured in fresh processes beside the published form."""
