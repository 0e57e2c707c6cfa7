"""HEIC and HEIF photographs, where the extra `heic` is installed; knows no limits."""

import functools
import importlib.util


@functools.cache
def reads_heif() -> bool:
    """Teach Pillow the format "HEIF"; False where pillow-heif is not installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True
