"""Thin entry points: parse, build, call, report."""
