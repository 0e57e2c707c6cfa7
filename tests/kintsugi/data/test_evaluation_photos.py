"""Photographs of an evaluation: which of a folder, and cut to a square."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.data.evaluation_photos import list_photos, square_crop
from kintsugi.data.splits import is_held_out
from kintsugi.errors import ConfigError


def test_photographs_are_cut_square_in_the_middle_and_resized_by_lanczos() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 91, 3), np.uint8)
    middle = Image.fromarray(pixels[:, 20:70]).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(square_crop(pixels, 64), np.array(middle))
    assert np.array_equal(square_crop(pixels[:, 20:70], 50), pixels[:, 20:70])


def test_which_photographs(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", "c/a.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list_photos(str(tmp_path)) == ["a.JPG", "b.png", "c/a.webp"]
    assert list_photos(str(tmp_path), 2) == ["a.JPG", "b.png"]


def test_only_what_training_held_out(tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(60)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    held_out = [name for name in names if is_held_out(name, 0.2)]
    assert 2 < len(held_out) < 30
    assert list_photos(str(tmp_path), held_out=0.2) == held_out
    # The limit counts what is evaluated.
    assert list_photos(str(tmp_path), 2, held_out=0.2) == held_out[:2]
    with pytest.raises(ConfigError, match=r"none of the 60 photographs .*share of 1e-09"):
        list_photos(str(tmp_path), held_out=1e-9)
    for share in (0, 1, 20):
        with pytest.raises(ConfigError, match=f"held-out share {share}"):
            list_photos(str(tmp_path), held_out=share)


def test_refuses_an_empty_folder_and_an_empty_limit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no photographs in"):
        list_photos(str(tmp_path))
    with pytest.raises(ConfigError, match="limit 0"):
        list_photos(str(tmp_path), 0)
