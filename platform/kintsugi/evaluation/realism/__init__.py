"""How real fills look, judged inside their holes."""
