"""Kept fills: found again for the same case and method, and for no other."""

import dataclasses
from pathlib import Path

import numpy as np

from kintsugi.evaluation.entrants import Case
from kintsugi.evaluation.fill_cache import FillCache, TimedFill
from kintsugi.storage.storage import Storage

MASK = np.zeros((64, 64), np.bool_)
MASK[20:40, 20:40] = True
CASE = Case("a.jpg", "center-20-64", np.zeros((64, 64, 3), np.uint8), MASK)
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def test_a_fill_comes_back_with_its_time(tmp_path: Path) -> None:
    cache = FillCache(Storage(tmp_path))
    assert cache.find(CASE, "telea 5") is None
    cache.keep(CASE, "telea 5", TimedFill(PIXELS, 1.5))
    found = cache.find(CASE, "telea 5")
    assert found is not None
    assert np.array_equal(found.pixels, PIXELS)
    assert (found.seconds, found.kept) == (1.5, True)
    # Content counts, and no names.
    renamed = dataclasses.replace(CASE, photo_id="b.jpg", masks="other")
    assert cache.find(renamed, "telea 5") is not None


def test_another_method_photograph_or_hole_is_another_fill(tmp_path: Path) -> None:
    cache = FillCache(Storage(tmp_path))
    cache.keep(CASE, "telea 5", TimedFill(PIXELS, 1.5))
    assert cache.find(CASE, "telea 6") is None
    assert cache.find(dataclasses.replace(CASE, pixels=PIXELS), "telea 5") is None
    assert cache.find(dataclasses.replace(CASE, mask=~MASK), "telea 5") is None


def test_a_damaged_or_unfinished_fill_is_made_again(tmp_path: Path) -> None:
    cache = FillCache(Storage(tmp_path))
    cache.keep(CASE, "telea 5", TimedFill(PIXELS, 1.5))
    (picture,) = tmp_path.rglob("*.png")
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-20])
    assert cache.find(CASE, "telea 5") is None
    picture.write_bytes(whole)
    assert cache.find(CASE, "telea 5") is not None
    picture.unlink()
    assert cache.find(CASE, "telea 5") is None
    picture.write_bytes(whole)
    (mark,) = tmp_path.rglob("*.json")
    about = mark.read_bytes()
    for damaged in (about[:-9], b"{}", b""):
        mark.write_bytes(damaged)
        assert cache.find(CASE, "telea 5") is None
    mark.unlink()
    assert cache.find(CASE, "telea 5") is None
