"""What stages are built of and share, and where they are found."""
