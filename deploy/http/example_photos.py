"""Photographs to try the page with, from packages that may be installed; downloads nothing."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExamplePhoto:
    """One photograph.

    Attributes:
        name: The name of its file, as the page asks for it.
        title: What it shows.
        file: On this machine.
    """

    name: str
    title: str
    file: Path


# Free of any licence's conditions (CC0). scikit-image is installed with the extra `eval`.
_PACKAGE = "skimage"
_PHOTOS = (
    ("data/coffee.png", "Cup of coffee"),
    ("data/chelsea.png", "Cat"),
    ("data/rocket.jpg", "Rocket"),
)


def find_samples() -> dict[str, ExamplePhoto]:
    """By name; without the package there are none."""
    # Found without importing it: that would take seconds.
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent
    samples = [ExamplePhoto(Path(path).name, title, folder / path) for path, title in _PHOTOS]
    return {sample.name: sample for sample in samples if sample.file.is_file()}
