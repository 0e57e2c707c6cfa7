"""How far a long computation is; knows no network and no PyTorch."""

from collections.abc import Callable
from typing import NamedTuple


class Step(NamedTuple):
    """``crop`` of ``crops`` are done, and of the next one ``scale`` of ``scales``.

    A crop is a group of holes that is filled by itself, or a tile of a style transfer,
    which has one scale. How many scales a crop has is known when its turn comes.
    """

    crop: int
    crops: int
    scale: int
    scales: int

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1: each scale takes about as long as all smaller ones together."""
        of_crop = float((2**self.scale - 1) / (2**self.scales - 1))
        return (self.crop + of_crop) / self.crops


# Called as each scale begins, on whatever thread computes; must not raise.
Progress = Callable[[Step], None]


def no_progress(step: Step) -> None:
    """A Progress that drops what it is given."""
