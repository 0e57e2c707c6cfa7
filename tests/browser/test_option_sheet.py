"""The sheet of options: what it says is sent, and the file is written so."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.screen import STROKE, Screen
from tests.deploy.conftest import draw_photo

pytestmark = pytest.mark.browser


def test_what_the_sheet_of_options_says_is_sent(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    sent: list[bytes] = []

    def keep(route: Any) -> None:
        sent.append(route.request.post_data_buffer or b"")
        route.continue_()

    screen.page.route("**/v1/inpaint", keep)
    options = screen.page.locator('[data-part="options"] [data-option]')
    assert options.count() == 8
    screen.option("grow_mask", "5")
    assert screen.page.locator("#options-sheet output").first.text_content() == "5"
    screen.fill()
    for name, value in {
        "grow_mask": "5",
        "feather": "0",
        "align_colour": "true",
        "scales": "auto",
        "seed": "0",
    }.items():
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in sent[0]


def test_the_file_is_written_as_the_options_say(screen: Screen, tmp_path: Path) -> None:
    path = tmp_path / "camera.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    Image.fromarray(draw_photo(240, 320)).save(path, exif=exif, quality=95)
    screen.open(path)
    screen.drag(STROKE)
    screen.fill()
    sizes = []
    for quality in ("90", "30"):
        screen.option("quality", quality)
        with screen.page.expect_download() as caught:
            screen.button("download").click()
        sizes.append(caught.value.path().stat().st_size)
        with Image.open(caught.value.path()) as saved:
            assert saved.getexif()[0x010F] == "Camera"
    assert sizes[1] < sizes[0]
    screen.option("strip_metadata", "true")
    screen.option("format", "avif")
    with screen.page.expect_download() as caught:
        screen.button("download").click()
    assert caught.value.suggested_filename == "camera-filled.avif"
    with Image.open(caught.value.path()) as saved:
        assert (saved.format, dict(saved.getexif())) == ("AVIF", {})
