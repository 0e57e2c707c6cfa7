"""Filling on the page: paint, fill, compare, download, undo; and what is said when it fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import SUB_PATH
from tests.browser.screen import Screen
from tests.deploy.conftest import draw_mask, draw_photo, encode

pytestmark = pytest.mark.browser

STROKE = ((80.0, 60.0), (120.0, 110.0), (150.0, 100.0))


@pytest.mark.parametrize("path", ["/", SUB_PATH + "/"])
def test_paint_fill_compare_and_download(
    open_page: Callable[..., Screen], photo: Path, path: str
) -> None:
    screen = open_page(path)
    screen.open(photo)
    screen.drag(STROKE)
    hole = screen.mask()
    assert hole.shape == (240, 320)
    assert hole[60, 80]
    assert not hole[200, 20]
    screen.fill()

    middle = screen.shown()
    box = screen.stage.bounding_box()
    y = box["y"] + box["height"] / 2
    screen.page.mouse.move(box["x"] + box["width"] / 2, y)
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.at((10, 120)), steps=3)
    screen.page.mouse.up()
    assert int(screen.divider.get_attribute("aria-valuenow")) < 10
    assert (screen.shown() != middle).any()

    name, answer = screen.download()
    assert name == "beach-filled.png"
    before = np.array(Image.open(photo))
    np.testing.assert_array_equal(answer[~hole], before[~hole])
    assert (answer[hole] != before[hole]).mean() > 0.5


def test_a_sample_is_filled_without_a_photo_of_ones_own(screen: Screen) -> None:
    assert screen.tab.locator(".welcome .sample").count() == 3
    screen.tab.locator(".welcome .sample").first.click()
    screen.stage.wait_for()
    box = screen.stage.bounding_box()
    screen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    screen.fill()
    assert screen.divider.is_visible()


def test_every_tool_paints_what_it_says(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.choose("rectangle")
    screen.drag([(40, 50), (140, 90)])
    expected = np.zeros((240, 320), np.bool_)
    expected[50:90, 40:140] = True
    np.testing.assert_array_equal(screen.mask(), expected)

    screen.choose("eraser")
    screen.drag([(60, 70), (80, 70)])
    erased = expected & ~screen.mask()
    assert erased[70, 70]
    assert 200 < erased.sum() < 2000

    screen.button("clear").click()
    assert not screen.mask().any()
    screen.choose("lasso")
    screen.drag([(200, 40), (280, 40), (280, 120)])
    inside = screen.mask()
    assert inside[60, 270]
    assert not inside[110, 210]
    assert 0.8 < inside.sum() / (80 * 80 / 2) < 1.2


def test_undo_and_redo_go_through_strokes_and_fills(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    first = screen.mask()
    screen.drag([(200, 150), (230, 170)])
    both = screen.mask()
    screen.button("undo").click()
    np.testing.assert_array_equal(screen.mask(), first)
    screen.page.keyboard.press("Control+Shift+z")
    np.testing.assert_array_equal(screen.mask(), both)

    screen.fill()
    _, filled = screen.download()
    assert not screen.mask().any()
    # Again, on the result.
    screen.choose("brush")
    screen.drag([(40, 200), (60, 210)])
    hole = screen.mask()
    screen.fill()
    _, twice = screen.download()
    np.testing.assert_array_equal(twice[~hole], filled[~hole])
    assert (twice != filled).any()

    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), hole)
    np.testing.assert_array_equal(screen.download()[1], filled)
    screen.page.keyboard.press("Control+z")
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), both)
    assert screen.button("download").is_disabled()


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
    assert "notes.png is not a picture" in said
    assert "Open a PNG, JPEG or WebP" in said


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
    screen.page.locator('[data-option="seed"]').evaluate("input => { input.value = -1; }")
    screen.button("fill").click()
    screen.notice.get_by_text("Seed='-1' is not one of its values.").wait_for()
    assert "Seed: whole number from 0 to" in screen.notice.inner_text()


def test_what_the_sheet_of_options_says_is_sent(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    sent: list[bytes] = []

    def keep(route: Any) -> None:
        sent.append(route.request.post_data_buffer or b"")
        route.continue_()

    screen.page.route("**/v1/inpaint", keep)
    options = screen.page.locator("#options-sheet [data-option]")
    assert options.count() == 4
    set_value = (
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }"
    )
    screen.page.locator('[data-option="grow_mask"]').evaluate(set_value, "5")
    assert screen.page.locator("#options-sheet output").first.text_content() == "5"
    screen.fill()
    for name, value in {
        "grow_mask": "5",
        "feather": "0",
        "align_colour": "true",
        "seed": "0",
    }.items():
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in sent[0]


def test_a_service_that_is_gone_loses_nothing(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    before = screen.mask()
    screen.page.route("**/v1/inpaint", lambda route: route.abort())
    screen.button("fill").click()
    screen.notice.get_by_text("The service did not answer.").wait_for()
    np.testing.assert_array_equal(screen.mask(), before)
    screen.page.unroute("**/v1/inpaint")
    screen.fill()
    assert not screen.notice.is_visible()


def test_a_busy_service_is_asked_again(screen: Screen, photo: Path) -> None:
    answers = [503, 503]

    def busy(route: object) -> None:
        if answers:
            route.fulfill(status=answers.pop(), headers={"retry-after": "1"})  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    screen.open(photo)
    screen.drag(STROKE)
    screen.page.route("**/v1/inpaint", busy)
    screen.button("fill").click()
    screen.tab.locator(".job").get_by_text("the service is busy").wait_for()
    screen.divider.wait_for()
    assert answers == []


def test_a_fill_is_cancelled(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    before = screen.mask()
    # Never answered.
    screen.page.route("**/v1/inpaint", lambda route: None)
    screen.button("fill").click()
    with screen.page.expect_event("requestfailed"):
        screen.tab.locator(".job button").click()
    screen.button("fill").and_(screen.page.locator(":enabled")).wait_for()
    assert not screen.divider.is_visible()
    assert not screen.notice.is_visible()
    np.testing.assert_array_equal(screen.mask(), before)
