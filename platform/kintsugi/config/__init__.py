"""A run's configuration: its sections and the file that holds them."""
