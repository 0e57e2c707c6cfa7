"""The searches behind `kintsugi.models.match.patch_swap`; windows and their indices."""
