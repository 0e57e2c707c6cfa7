"""Masks that are opened as files: read as the service reads them, and painted on."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kintsugi.imaging.codec import decode_mask
from kintsugi.imaging.photo_options import MaskOptions, choice
from tests.browser.screen import Screen
from tests.deploy.conftest import draw_mask, draw_photo, encode

pytestmark = pytest.mark.browser


def test_a_mask_is_imported_and_painted_on(screen: Screen, photo: Path, tmp_path: Path) -> None:
    screen.open(photo)
    mask = draw_mask(240, 320)
    (tmp_path / "mask.png").write_bytes(encode(mask))
    screen.part("import").set_input_files(tmp_path / "mask.png")
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), mask)
    screen.drag([(250, 200), (270, 210)])
    assert (screen.mask() > mask).any()

    (tmp_path / "small.png").write_bytes(encode(draw_mask(60, 80)))
    screen.part("import").set_input_files(tmp_path / "small.png")
    screen.notice.wait_for()
    assert "80 × 60 pixels but the photo is 320 × 240" in screen.notice.inner_text()  # noqa: RUF001
    assert (screen.mask() > mask).any()


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("L", {"mask_threshold": "100"}),
        ("L", {"invert_mask": "true"}),
        ("RGB", {"mask_convention": "black"}),
        ("RGBA", {"mask_convention": "alpha"}),
        ("RGBA", {"mask_convention": "painted", "mask_threshold": "200"}),
        ("RGBA", {}),
    ],
)
def test_a_mask_is_read_as_the_service_reads_it(
    screen: Screen, photo: Path, tmp_path: Path, mode: str, options: dict[str, str]
) -> None:
    soft = Image.fromarray(draw_mask(240, 320).astype(np.uint8) * 255)
    soft = soft.filter(ImageFilter.GaussianBlur(6))
    mask = soft if mode != "RGBA" else Image.merge("LA", (Image.new("L", soft.size, 255), soft))
    data = io.BytesIO()
    mask.convert(mode).save(data, "PNG")
    (tmp_path / "mask.png").write_bytes(data.getvalue())
    values: dict[str, Any] = {
        name: value == "true" if name == "invert_mask" else choice(name).parse(value)
        for name, value in options.items()
    }
    screen.open(photo)
    for name, value in options.items():
        screen.option(name, value)
    screen.part("import").set_input_files(tmp_path / "mask.png")
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    expected = decode_mask(data.getvalue(), options=MaskOptions(**values))
    np.testing.assert_array_equal(screen.mask(), expected)


def test_a_mask_that_cannot_be_meant_so_is_said(
    screen: Screen, photo: Path, tmp_path: Path
) -> None:
    screen.open(photo)
    screen.part("import").set_input_files(photo)
    screen.notice.get_by_text("The mask is in colour.").wait_for()
    (tmp_path / "mask.png").write_bytes(encode(draw_mask(240, 320)))
    screen.option("mask_convention", "painted")
    screen.part("import").set_input_files(tmp_path / "mask.png")
    screen.notice.get_by_text("Nothing in the mask is transparent.").wait_for()
    assert not screen.mask().any()


def test_what_was_erased_is_filled_so_that_it_is_seen(screen: Screen, tmp_path: Path) -> None:
    """A photograph whose hole is its own transparency; elsewhere it stays as transparent."""
    alpha = np.full((240, 320), 255, np.uint8)
    alpha[60:120, 80:160] = 0
    # Half erased at the edge, as by a soft eraser.
    alpha[50:60, 80:160] = 128
    path = tmp_path / "erased.png"
    path.write_bytes(encode(np.dstack([draw_photo(240, 320), alpha])))
    screen.open(path)
    screen.option("mask_convention", "alpha")
    screen.part("import").set_input_files(path)
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    screen.fill()
    png = screen.download()[1]
    assert (png[..., 3] == 255).all()
    np.testing.assert_array_equal(png[~(alpha < 255)], np.array(Image.open(path))[alpha == 255])
    # Saved by the service, too.
    screen.option("strip_metadata", "true")
    assert (screen.download()[1][..., 3] == 255).all()
    # After a reload the hole is what it was.
    screen.button("undo").click()
    screen.wait_kept()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    screen.fill()
    assert (screen.download()[1][..., 3] == 255).all()


def test_what_a_download_cannot_keep_is_said(screen: Screen, tmp_path: Path) -> None:
    clear = np.dstack([draw_photo(240, 320), np.full((240, 320), 255, np.uint8)])
    clear[:40, :40, 3] = 0
    path = tmp_path / "logo.png"
    path.write_bytes(encode(clear))
    screen.open(path)
    screen.drag([(200, 150), (230, 170)])
    screen.fill()
    screen.download()
    assert not screen.notice.is_visible()
    screen.option("format", "jpeg")
    screen.download()
    screen.notice.get_by_text("Downloaded; not all could be kept as it was.").wait_for()
    assert "logo.png: transparency" in screen.notice.inner_text()
