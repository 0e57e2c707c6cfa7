"""Photographs that are opened, dropped or pasted, and what is said of those that cannot be."""

from pathlib import Path

import numpy as np
import pytest

from tests.browser.screen import Screen
from tests.deploy.conftest import draw_photo, encode

pytestmark = pytest.mark.browser


def test_dropped_and_pasted_photos_are_opened(screen: Screen) -> None:
    data = list(encode(draw_photo(90, 120)))
    give = """([data, kind]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(data)], "given.png", { type: "image/png" }));
        const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: files, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    screen.page.evaluate(give, [data, "drop"])
    screen.stage.wait_for()
    assert screen.mask().shape == (90, 120)
    screen.page.evaluate(give, [list(encode(draw_photo(50, 70))), "paste"])
    screen.page.wait_for_function(
        "() => document.querySelector('[data-part=status]').textContent.includes('70 by 50')"
    )
    assert screen.mask().shape == (50, 70)


def test_what_is_no_picture_is_said_in_words(screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_bytes(b"no picture")
    screen.tab.locator('.welcome input[type="file"]').set_input_files(tmp_path / "notes.png")
    screen.notice.wait_for()
    said = screen.notice.inner_text()
    assert "notes.png is not a picture that can be read." in said
    assert "Open a PNG, JPEG, WebP, TIFF or HEIC." in said


def test_what_the_service_refuses_is_said_with_what_to_do(
    screen: Screen, photo: Path, tmp_path: Path
) -> None:
    screen.open(photo)
    screen.button("fill").click()
    assert "Paint over what should go, then fill." in screen.notice.inner_text()

    (tmp_path / "full.png").write_bytes(encode(np.ones((240, 320), np.bool_)))
    screen.part("import").set_input_files(tmp_path / "full.png")
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    screen.button("fill").click()
    screen.notice.get_by_text("The whole photo is painted over.").wait_for()
    assert "Request " in screen.notice.inner_text()

    # What has no words of the page's own: the service's.
    grow = screen.page.locator('[data-option="grow_mask"]')
    grow.evaluate("input => { input.max = 99; input.value = 99; }")
    screen.button("fill").click()
    screen.notice.get_by_text("Grow_mask='99' is not one of its values.").wait_for()
    assert "Grow_mask: 0 to 64 pixels" in screen.notice.inner_text()
