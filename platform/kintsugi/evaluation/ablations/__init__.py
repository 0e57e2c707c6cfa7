"""Variants of the method that are trained, published and compared in one table."""
