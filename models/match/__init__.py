"""The searches behind `models.match.patch_swap`: exact, approximate; windows and their indices."""
