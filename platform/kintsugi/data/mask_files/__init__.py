"""Masks in Parquet files, and the pictures of a user's own that a run keeps in such."""
