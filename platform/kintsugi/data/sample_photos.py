"""Real photographs to start with, from packages that are installed anyway; downloads nothing."""

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kintsugi.defaults import SAMPLES
from kintsugi.errors import ConfigError
from kintsugi.storage.storage import Storage

# Colour photographs that scikit-image and scikit-learn ship inside their
# packages; drawings, microscopy, text and the second halves of stereo pairs are left out.
SAMPLE_PHOTOS = {
    "skimage": (
        "data/astronaut.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/hubble_deep_field.jpg",
        "data/motorcycle_left.png",
        "data/rocket.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}


def copy_sample_photos(output_uri: str) -> list[str]:
    """Copy the sample photographs, unchanged, to a folder or bucket.

    Returns:
        Their names there, sorted.

    Raises:
        ConfigError: The packages that hold them are not installed.
        StorageError: Writing failed.
    """
    files = [
        _package_folder(package) / name
        for package, names in SAMPLE_PHOTOS.items()
        for name in names
    ]
    for file in files:
        if not file.is_file():
            raise ConfigError(f"{file} is missing: install the extra `eval` again")
    target = Storage(output_uri)
    for file in files:
        target.write(file.name, file.read_bytes())
    return sorted(file.name for file in files)


@contextmanager
def open_photos(uri: str) -> Iterator[str]:
    """Give the URI of photographs back, or for SAMPLES a temporary folder of them."""
    if uri != SAMPLES:
        yield uri
        return
    with tempfile.TemporaryDirectory() as folder:
        copy_sample_photos(folder)
        yield folder


def _package_folder(package: str) -> Path:
    # Found without importing it: that would take seconds for a copy of files.
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(
            f"the sample photographs come from the package {package}, which is not installed:"
            ' pip install "kintsugi-inpainting[eval]"'
        )
    return Path(found.origin).parent
