"""The nodes of the graph on Ray Serve, and what carries requests between them."""
