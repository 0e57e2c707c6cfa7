"""Fills that were made before, found again by what they were made of; knows no method.

An entry is `<key>.png`, the picture, and `<key>.json`, written last: how long it took and what
it was made of. The key is a SHA-256 over the holed pixels, the mask and an identity: the caller
names in it whatever else changes an answer, so that nothing becomes stale.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from kintsugi.evaluation.entrants import Case
from kintsugi.imaging.arrays import Pixels
from kintsugi.imaging.codec import decode_image, encode_image
from kintsugi.storage.storage import Storage

# Part of every key: another way to prepare or to keep a case is another key.
_VERSION = 1


class TimedFill(NamedTuple):
    """A picture and the seconds that it took; ``kept`` when it comes from the cache."""

    pixels: Pixels
    seconds: float
    kept: bool = False


@dataclass(frozen=True)
class _About:
    """What is read back of the file next to a fill."""

    seconds: float
    png_sha256: str


class FillCache:
    """A folder or bucket of fills, shared by evaluations and machines at the same time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def find(self, case: Case, identity: str) -> TimedFill | None:
        """The fill that was kept for this case; None also for a damaged one."""
        key = _key(case, identity)
        if not self._storage.exists(f"{key}.json"):
            return None
        try:
            about = TypeAdapter(_About).validate_json(self._storage.read(f"{key}.json"))
        except ValidationError:
            return None
        # Without its picture, cut short or altered on the way: made again.
        if not self._storage.exists(f"{key}.png"):
            return None
        data = self._storage.read(f"{key}.png")
        if hashlib.sha256(data).hexdigest() != about.png_sha256:
            return None
        return TimedFill(decode_image(data).pixels, about.seconds, kept=True)

    def keep(self, case: Case, identity: str, fill: TimedFill) -> None:
        """Write a fill; the same one written twice at a time does no harm."""
        key = _key(case, identity)
        data = encode_image(fill.pixels)
        about = {
            "photo": case.photo_id,
            "masks": case.masks,
            "method": identity,
            "seconds": fill.seconds,
            "png_sha256": hashlib.sha256(data).hexdigest(),
        }
        self._storage.write(f"{key}.png", data)
        self._storage.write(f"{key}.json", (json.dumps(about, indent=1) + "\n").encode())


def _key(case: Case, identity: str) -> str:
    height, width = case.mask.shape
    digest = hashlib.sha256(f"{_VERSION}\n{height} {width}\n{identity}\n".encode())
    digest.update(case.pixels.tobytes())
    digest.update(np.packbits(case.mask).tobytes())
    name = digest.hexdigest()
    # No folder gets more entries than can be listed at ease.
    return f"{name[:2]}/{name}"
