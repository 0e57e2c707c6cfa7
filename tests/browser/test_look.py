"""Transferring a style on the page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.screen import Screen
from tests.deploy.conftest import draw_photo, encode

pytestmark = pytest.mark.browser


def test_one_picture_takes_the_look_of_another(screen: Screen, photo: Path, tmp_path: Path) -> None:
    page = screen.page
    page.locator("#tab-look").click()
    look = page.locator("#look")
    look.locator('[data-action="fill"]').click()
    look.get_by_text("The photo is missing.").wait_for()
    look.locator('[data-part="open-content"]').set_input_files(photo)
    look.get_by_alt_text("The photo: beach.png").wait_for()
    (tmp_path / "ink.png").write_bytes(encode(draw_photo(64, 72, seed=5)))
    look.locator('[data-part="open-style"]').set_input_files(tmp_path / "ink.png")
    look.get_by_alt_text("The look: ink.png").wait_for()
    answers = []
    for strength in ("100", "30"):
        look.locator('[data-part="strength"]').fill(strength)
        look.locator('[data-action="fill"]').click()
        look.locator(".job").wait_for()
        look.locator(".job").wait_for(state="hidden")
        with page.expect_download() as caught:
            look.locator('[data-action="download"]').click()
        assert caught.value.suggested_filename == "beach-styled.png"
        answers.append(np.array(Image.open(caught.value.path())))
    assert answers[0].shape == answers[1].shape == (240, 320, 3)
    assert (answers[0] != answers[1]).any()
    divider = look.locator(".divider")
    divider.focus()
    page.keyboard.press("Home")
    assert divider.get_attribute("aria-valuenow") == "0"


def test_a_photo_beyond_the_limit_is_made_smaller(screen: Screen) -> None:
    page = screen.page
    page.locator("#tab-look").click()
    look = page.locator("#look")
    sent = []

    def answer(route: object) -> None:
        sent.append(route.request.post_data_buffer)  # type: ignore[attr-defined]
        route.fulfill(body=encode(draw_photo(8, 8)), content_type="image/png")  # type: ignore[attr-defined]

    page.route("**/v1/stylize", answer)
    large = encode(np.zeros((2100, 2100, 3), np.uint8))
    small = encode(draw_photo(64, 72))
    for kind, data in (("content", large), ("style", small)):
        file = {"name": f"{kind}.png", "mimeType": "image/png", "buffer": data}
        look.locator(f'[data-part="open-{kind}"]').set_input_files(file)
        look.get_by_alt_text(f"{kind}.png").wait_for()
    look.locator('[data-action="fill"]').click()
    look.get_by_text("The photo was made smaller: 2049").wait_for(state="attached")
    (body,) = sent
    start = body.index(b"\x89PNG")
    width, height = (int.from_bytes(body[start + at : start + at + 4], "big") for at in (16, 20))
    assert (width, height) == (2049, 2049)
    assert width * height <= 4_200_000
