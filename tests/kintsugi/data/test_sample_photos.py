"""kintsugi.data.sample_photos: real photographs without a download."""

import importlib.util
from pathlib import Path

import pytest

from kintsugi.data.sample_photos import copy_sample_photos, open_photos
from kintsugi.defaults import SAMPLES
from kintsugi.errors import ConfigError
from kintsugi.imaging.codec import decode_image
from kintsugi.storage.storage import Storage


def test_the_samples_are_photographs_in_colour(tmp_path: Path) -> None:
    place = str(tmp_path)
    names = copy_sample_photos(place)
    assert len(names) == 8
    assert Storage(place).list() == names
    for name in names:
        pixels = decode_image(Storage(place).read(name)).pixels.astype(int)
        assert min(pixels.shape[:2]) >= 300, name
        assert pixels.std() > 20, name
        assert abs(pixels[..., 0] - pixels[..., 2]).mean() > 5, name


def test_open_photos_gives_a_folder_for_samples_and_else_what_it_was_given() -> None:
    with open_photos(SAMPLES) as folder:
        assert len(Storage(folder).list()) == 8
    assert not Path(folder).exists()
    with open_photos("s3://bucket/photos") as uri:
        assert uri == "s3://bucket/photos"


def test_without_the_packages_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'skimage.* pip install "kintsugi-inpainting\[eval\]"'):
        copy_sample_photos(str(tmp_path))
