"""The page by keyboard alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.screen import Screen

pytestmark = pytest.mark.browser


def test_from_the_first_key_to_the_download(screen: Screen) -> None:
    keyboard = screen.page.keyboard
    for _ in range(12):
        keyboard.press("Tab")
        if "Cup of coffee" in screen.page.evaluate("document.activeElement.textContent"):
            break
    keyboard.press("Enter")
    screen.stage.wait_for()
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    for _ in range(8):
        keyboard.press("ArrowRight")
    keyboard.press("Enter")
    hole = screen.mask()
    assert hole[200, 310]
    across = hole[200].nonzero()[0]
    assert across.max() - across.min() > 2 * (hole[:, 310].nonzero()[0].size - 1)
    screen.stage.focus()
    keyboard.press("f")
    screen.wait_filled()
    # The stage has kept the focus.
    assert screen.stage.evaluate("stage => stage === document.activeElement")
    keyboard.press("c")
    screen.divider.focus()
    keyboard.press("ArrowLeft")
    assert screen.divider.get_attribute("aria-valuenow") == "48"
    keyboard.press("End")
    assert screen.divider.get_attribute("aria-valuetext") == "100 % before, 0 % after"
    with screen.page.expect_download() as caught:
        keyboard.press("Control+s")
    answer = np.array(Image.open(caught.value.path()))
    assert answer.shape == (400, 600, 3)


def test_brush_keys_and_shapes_by_arrow_keys(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    keyboard = screen.page.keyboard
    size = screen.part("size-shown")
    assert size.inner_text() == "20 px"
    keyboard.press("]")
    assert size.inner_text() == "23 px"
    keyboard.press("[")
    keyboard.press("[")
    assert size.inner_text() == "17 px"
    assert screen.part("size").get_attribute("aria-valuetext") == "17 pixels"

    keyboard.press("r")
    keyboard.press("ArrowLeft")
    keyboard.press("Enter")
    for key in ("ArrowLeft", "ArrowUp") * 5:
        keyboard.press(key)
    keyboard.press("Escape")
    assert not screen.mask().any()
    screen.stage.focus()
    keyboard.press("Enter")
    for key in ("ArrowLeft", "ArrowUp") * 5:
        keyboard.press(key)
    keyboard.press("Enter")
    rows, columns = screen.mask().nonzero()
    assert screen.mask().sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1) > 100
    keyboard.press("Delete")
    assert not screen.mask().any()


def test_tab_held_compares_and_tab_pressed_moves_on(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    before = screen.shown()
    screen.drag([(80, 60), (120, 110)])
    screen.fill()
    screen.page.mouse.move(5, 5)
    after = screen.shown()
    assert (after != before).any()
    screen.stage.focus()
    keyboard = screen.page.keyboard
    keyboard.down("Tab")
    for _ in range(4):
        # Repeated by the keyboard while it is held.
        screen.page.wait_for_timeout(100)
        keyboard.down("Tab")
    np.testing.assert_array_equal(screen.shown(), before)
    keyboard.up("Tab")
    np.testing.assert_array_equal(screen.shown(), after)
    assert screen.stage.evaluate("stage => stage === document.activeElement")
    keyboard.press("Tab")
    assert not screen.stage.evaluate("stage => stage.contains(document.activeElement)")


def test_the_keys_are_listed(screen: Screen) -> None:
    screen.page.keyboard.press("?")
    dialog = screen.page.locator("#help")
    assert "size of the brush" in dialog.inner_text()
    screen.page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_tabs_by_arrow_keys(screen: Screen) -> None:
    screen.page.locator("#tab-fill").focus()
    screen.page.keyboard.press("ArrowRight")
    assert screen.page.locator("#look").is_visible()
    assert not screen.tab.is_visible()
    assert screen.page.url.endswith("#look")


def test_zoom_keeps_what_is_painted_where_it_is(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    zoom = screen.part("zoom")
    fitted = zoom.inner_text()
    screen.choose("rectangle")
    screen.drag([(100, 80), (140, 120)])
    x, y = screen.at((120, 100))
    screen.page.mouse.move(x, y)
    screen.page.mouse.wheel(0, -400)
    screen.settle()
    assert int(zoom.inner_text().rstrip("%")) > int(fitted.rstrip("%"))
    screen.choose("eraser")
    screen.page.mouse.click(x, y)
    erased = ~screen.mask()[80:120, 100:140]
    rows, columns = erased.nonzero()
    assert abs(rows.mean() - 19.5) < 1
    assert abs(columns.mean() - 19.5) < 1
    # Space and a drag move the photograph and paint nothing.
    before = screen.mask()
    screen.stage.focus()
    screen.page.keyboard.down(" ")
    screen.page.mouse.down()
    screen.page.mouse.move(x + 60, y, steps=3)
    screen.page.mouse.up()
    screen.page.keyboard.up(" ")
    np.testing.assert_array_equal(screen.mask(), before)
    screen.page.keyboard.press("0")
    assert zoom.inner_text() == fitted
