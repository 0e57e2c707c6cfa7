"""HTTP: requests to photographs and options, answers to bytes."""
