"""Runs to a release."""
