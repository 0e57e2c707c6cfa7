"""Which photographs are kept out of training; knows no storage and no data set."""

import hashlib
from typing import Final

TRAIN: Final = "train"
HELD_OUT: Final = "held_out"


def is_held_out(photo_id: str, share: float) -> bool:
    """True when a photograph is kept out of training, at a share of 0 (none) to below 1.

    It depends on the id alone: the same photographs are held out on every machine and in
    every data set, and at a larger share those of a smaller one are among them.
    """
    number = int.from_bytes(hashlib.sha256(f"held-out:{photo_id}".encode()).digest()[:8], "big")
    return number / 2**64 < share
