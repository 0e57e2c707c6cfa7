"""Formats that a browser does not show are shown by a preview from the service."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.imaging.codec import decode_image
from tests.browser.screen import Screen
from tests.deploy.conftest import draw_photo, encode
from tests.kintsugi.deep_pictures import avif

pytestmark = pytest.mark.browser

STROKE = ((40.0, 30.0), (70.0, 50.0))


def save(path: Path) -> None:
    image = Image.fromarray(draw_photo(96, 128))
    if path.suffix == ".heic":
        heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
        heif.from_pillow(image).save(path, quality=90)
    else:
        image.save(path)


@pytest.mark.parametrize("ending", ["tif", "jp2"])
def test_masks_are_imported_from_every_format(screen: Screen, tmp_path: Path, ending: str) -> None:
    save(tmp_path / "photo.png")
    screen.open(tmp_path / "photo.png")
    hole = np.zeros((96, 128), np.uint8)
    hole[30:50, 40:70] = 255
    Image.fromarray(hole).save(tmp_path / f"mask.{ending}")
    screen.part("import").set_input_files(tmp_path / f"mask.{ending}")
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), hole > 0)


@pytest.mark.parametrize(
    "ending", ["png", "jpg", "webp", "tif", "heic", "avif", "bmp", "gif", "jp2"]
)
def test_it_opens_is_filled_and_comes_back_as_it_was(
    screen: Screen, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"photo.{ending}"
    save(path)
    screen.tab.locator('.welcome input[type="file"]').set_input_files(path)
    screen.stage.wait_for()
    screen._size = (128, 96)
    screen.settle()
    shown = screen.shown()
    assert len(set(map(tuple, shown[::7, ::7, :3].reshape(-1, 3).tolist()))) > 100
    screen.drag(STROKE)
    hole = screen.mask()
    assert hole.shape == (96, 128)
    screen.fill()
    with screen.page.expect_download() as caught:
        screen.button("download").click()
    assert caught.value.suggested_filename == f"photo-filled.{ending}"
    saved = decode_image(Path(caught.value.path()).read_bytes()).pixels
    before = decode_image(path.read_bytes()).pixels
    assert np.abs(saved[~hole].astype(int) - before[~hole]).mean() < 6
    assert np.abs(saved[hole].astype(int) - before[hole]).mean() > 6
    # What was sent is kept, too.
    screen.option("format", "png")
    answer = screen.download()[1]
    screen.wait_kept()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    screen.option("format", "png")
    np.testing.assert_array_equal(screen.download()[1], answer)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("deep.avif", "10-bit samples reduced to 8 bit"),
        ("tail.png", "4 bytes after the end of the picture dropped"),
    ],
)
def test_what_is_lost_is_said_whatever_is_downloaded(
    screen: Screen, tmp_path: Path, name: str, said: str
) -> None:
    path = tmp_path / name
    pixels = draw_photo(96, 128)
    path.write_bytes(
        avif(pixels.astype(np.uint16) * 257, 10)
        if name == "deep.avif"
        else encode(pixels) + b"tail"
    )
    screen.tab.locator('.welcome input[type="file"]').set_input_files(path)
    screen.stage.wait_for()
    screen._size = (128, 96)
    screen.settle()
    screen.drag(STROKE)
    screen.fill()
    for format in ("same", "png"):
        screen.option("format", format)
        with screen.page.expect_download():
            screen.button("download").click()
        screen.notice.get_by_text(f"{name}: {said}").wait_for()
        screen.notice.locator("button").click()


def test_a_tiff_is_shown_upright(screen: Screen, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(draw_photo(96, 128)).save(buffer, "TIFF", exif=exif)
    path = tmp_path / "turned.tif"
    path.write_bytes(buffer.getvalue())
    screen.tab.locator('.welcome input[type="file"]').set_input_files(path)
    screen.stage.wait_for()
    assert screen.mask().shape == (128, 96)
