"""Pairs for programs of others: exactly what the methods of an evaluation get."""

from pathlib import Path

import numpy as np
import pytest

from kintsugi.data.evaluation_photos import square_crop
from kintsugi.imaging.codec import decode_image, decode_mask, encode_image
from kintsugi.inference.mask_pairs import write_pairs
from kintsugi.masks.sets import parse_mask_set
from kintsugi.storage.storage import Storage


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.storage.parallel.ray_is_running", lambda: False)


def test_pairs_are_the_cases_of_an_evaluation(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (70, 90, 3), np.uint8)
    photos = Storage(tmp_path / "photos")
    for name in ("a.png", "b/a.png", "c.png", "c.jpg"):
        photos.write(name, encode_image(pixels))
    photos.write("bad.png", b"no image")
    masks = parse_mask_set("thick-64")
    target = tmp_path / "out"
    rejects = write_pairs(photos, photos.list(), masks, Storage(target))
    assert set(rejects) == {"bad.png", "c.jpg", "c.png"}
    assert "would all become c.png" in rejects["c.jpg"]
    mask = decode_mask((target / "masks" / "b" / "a.png").read_bytes())
    assert np.array_equal(mask, masks.mask_of("b/a.png"))
    image = decode_image((target / "images" / "b" / "a.png").read_bytes()).pixels
    truth = square_crop(pixels, 64)
    assert (image[mask] == 0).all()
    assert np.array_equal(image[~mask], truth[~mask])
