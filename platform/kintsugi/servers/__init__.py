"""Servers on this machine for demo, benchmarks and tests: S3, Ray, the service."""
