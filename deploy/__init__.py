"""Serving on Ray Serve; knows nothing of training."""
