"""Photographs to shards, and shards to training batches."""
