"""Tests of kintsugi.benchmarks.train."""
