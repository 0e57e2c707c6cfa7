"""What decoding a file takes, for containers that can say one thing and hold another."""
