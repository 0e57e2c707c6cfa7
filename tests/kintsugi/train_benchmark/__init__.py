"""Tests of kintsugi.train_benchmark."""
