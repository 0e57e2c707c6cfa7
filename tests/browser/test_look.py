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


def test_a_reload_keeps_pictures_strength_and_result(
    screen: Screen, photo: Path, tmp_path: Path
) -> None:
    page = screen.page
    page.locator("#tab-look").click()
    look = page.locator("#look")
    (tmp_path / "ink.png").write_bytes(encode(draw_photo(64, 72, seed=5)))
    style = look.get_by_alt_text("The look: ink.png")
    look.locator('[data-part="open-style"]').set_input_files(tmp_path / "ink.png")
    style.wait_for()
    look.locator('[data-part="strength"]').fill("30")

    def reload() -> None:
        screen.wait_kept()
        page.reload()
        page.wait_for_selector("html[data-ready]")

    def download() -> bytes:
        with page.expect_download() as caught:
            look.locator('[data-action="download"]').click()
        return Path(caught.value.path()).read_bytes()

    def transfer() -> bytes:
        look.locator('[data-action="fill"]').click()
        look.locator(".job").wait_for()
        look.locator(".job").wait_for(state="hidden")
        return download()

    reload()
    assert style.is_visible()
    assert look.locator('[data-part="strength"]').input_value() == "30"
    assert look.locator('[data-part="strength-shown"]').inner_text() == "30%"
    look.locator('[data-part="open-content"]').set_input_files(photo)
    look.get_by_alt_text("The photo: beach.png").wait_for()
    result = transfer()

    reload()
    assert look.get_by_alt_text("The photo: beach.png").is_visible()
    assert look.locator(".divider").is_visible()
    assert download() == result
    # Made again of what was kept, it is the same.
    assert transfer() == result

    # What is closed is forgotten, its files as well.
    for name in ("beach.png", "ink.png"):
        look.get_by_role("button", name=f"Close {name}").click()
    reload()
    assert not style.is_visible()
    assert look.locator('[data-action="download"]').is_disabled()
    assert look.locator('[data-part="strength"]').input_value() == "100"
    left = page.evaluate(
        """() => new Promise(done => {
            indexedDB.open("kintsugi").onsuccess = ({ target }) => {
                const files = target.result.transaction("files").objectStore("files").count();
                files.onsuccess = () => done(files.result);
            };
        })"""
    )
    assert left == 0


def test_a_result_is_not_closed_without_a_question(screen: Screen, photo: Path) -> None:
    page = screen.page
    page.locator("#tab-look").click()
    look = page.locator("#look")
    for kind in ("content", "style"):
        look.locator(f'[data-part="open-{kind}"]').set_input_files(photo)
        look.get_by_alt_text("beach.png").nth(0 if kind == "content" else 1).wait_for()
    look.locator('[data-action="fill"]').click()
    look.locator(".divider").wait_for()
    look.locator('[data-part="close-content"]').click()
    dialog = page.locator("#sure")
    assert "beach.png" in dialog.inner_text()
    dialog.get_by_text("Cancel").click()
    assert look.locator(".divider").is_visible()
    look.locator('[data-part="close-content"]').click()
    dialog.locator('[data-part="sure-yes"]').click()
    look.locator(".divider").wait_for(state="hidden")
    # The same file opens again.
    look.locator('[data-part="open-content"]').set_input_files(photo)
    look.get_by_alt_text("The photo: beach.png").wait_for()
