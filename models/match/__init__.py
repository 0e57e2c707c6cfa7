"""The searches behind `models.patch_swap`: exact, approximate; windows and their indices."""
