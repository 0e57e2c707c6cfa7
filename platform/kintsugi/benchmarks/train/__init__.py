"""Benchmark of training: the platform's steps beside the same steps in a plain DDP loop."""
