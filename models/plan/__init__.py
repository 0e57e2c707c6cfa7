"""What is computed at which scale, crop and tile; runs no network."""
