"""Benchmark of training: the platform's steps against the same steps in a plain DDP loop."""
