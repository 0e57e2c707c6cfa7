"""Restyling a folder: the look of one picture, everything else as it was."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError, InputError, StorageError
from kintsugi.imaging.arrays import Pixels
from kintsugi.inference.stylize import Stylist, read_style, stylize_folder
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, tensor_to_image
from kintsugi.storage.storage import Storage
from tests.kintsugi.pictures import encode, gradient, photo, rotated_photo


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.storage.parallel.ray_is_running", lambda: False)


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=0)


@pytest.fixture
def style() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def test_restyles_what_it_can_read(inpainter: Inpainter, style: Pixels, tmp_path: Path) -> None:
    content, output = Storage(tmp_path / "content"), Storage(tmp_path / "output")
    pixels = gradient(40, 56)
    alpha = np.full((40, 56), 77, np.uint8)
    content.write("clear.png", encode(np.dstack([pixels, alpha])))
    content.write("lying.jpg", rotated_photo(6))
    content.write("broken.png", b"no image")

    summary = stylize_folder(content, output, stylist=Stylist(inpainter, style, 0.5))

    found = {each.id: (each.output, each.code) for each in summary.outcomes}
    assert found == {
        "broken.png": ("", "content_format_not_allowed"),
        "clear.png": ("clear.png", ""),
        "lying.jpg": ("lying.jpg", ""),
    }
    with Image.open(io.BytesIO(output.read("clear.png"))) as clear:
        made = np.array(clear)
    expected = inpainter.stylize(image_to_tensor(pixels), image_to_tensor(style), strength=0.5)
    assert np.array_equal(made[..., :3], tensor_to_image(expected))
    assert (made[..., 3] == 77).all()
    with Image.open(io.BytesIO(output.read("lying.jpg"))) as lying:
        assert lying.size == (96, 64)
    assert stylize_folder(content, output, stylist=Stylist(inpainter, style)).tried == 0


def test_the_style_is_one_picture(tmp_path: Path) -> None:
    (tmp_path / "look.jpg").write_bytes(photo(40, 50))
    pixels, notes = read_style(str(tmp_path / "look.jpg"))
    assert pixels.shape == (40, 50, 3)
    assert notes == ()
    with pytest.raises(StorageError, match=r"nothing\.jpg"):
        read_style(str(tmp_path / "nothing.jpg"))
    (tmp_path / "small.png").write_bytes(encode(gradient(15, 40)))
    with pytest.raises(InputError, match="style is 40x15"):
        read_style(str(tmp_path / "small.png"))


def test_refuses_a_wrong_strength_and_an_output_among_the_content(
    inpainter: Inpainter, style: Pixels, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"strength=1\.5"):
        Stylist(inpainter, style, 1.5)
    content = Storage(tmp_path / "content")
    with pytest.raises(ConfigError, match="among the content"):
        stylize_folder(content, content.join("styled"), stylist=Stylist(inpainter, style))
    with pytest.raises(ConfigError, match="no photographs in"):
        stylize_folder(content, Storage(tmp_path / "out"), stylist=Stylist(inpainter, style))
