"""Results on the page: before and after, another one for the same hole, the clipboard."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.browser.screen import STROKE, Screen

pytestmark = pytest.mark.browser


def test_before_is_seen_while_its_button_is_held(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.page.mouse.move(5, 5)
    before = screen.shown()
    screen.drag(STROKE)
    screen.fill()
    screen.page.mouse.move(5, 5)
    after = screen.shown()
    assert (after != before).any()
    box = screen.button("peek").bounding_box()
    screen.page.mouse.move(box["x"] + 15, box["y"] + 15)
    screen.page.mouse.down()
    np.testing.assert_array_equal(screen.shown(), before)
    screen.page.mouse.up()
    np.testing.assert_array_equal(screen.shown(), after)
    screen.button("peek").focus()
    screen.page.keyboard.down("Enter")
    np.testing.assert_array_equal(screen.shown(), before)
    screen.page.keyboard.up("Enter")
    np.testing.assert_array_equal(screen.shown(), after)


def test_another_result_for_the_same_hole(screen: Screen, photo: Path) -> None:
    sent = screen.sent_fills()
    screen.open(photo)
    screen.drag(STROKE)
    hole = screen.mask()
    screen.fill()
    screen.button("again").click()
    screen.tab.locator(".job").wait_for(state="hidden")
    screen.wait_filled()
    assert [b'name="seed"\r\n\r\n%d\r\n' % seed in body for seed, body in enumerate(sent)] == [
        True,
        True,
    ]
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), hole)


def test_the_result_is_copied(open_page: Callable[..., Screen], photo: Path) -> None:
    screen = open_page(permissions=["clipboard-read", "clipboard-write"])
    screen.open(photo)
    screen.drag(STROKE)
    screen.fill()
    screen.page.keyboard.press("Control+c")
    screen.notice.get_by_text("The result is in the clipboard.").wait_for()
    copied = screen.page.evaluate(
        """async () => {
            const [item] = await navigator.clipboard.read();
            const bitmap = await createImageBitmap(await item.getType("image/png"));
            return [bitmap.width, bitmap.height];
        }"""
    )
    assert copied == [320, 240]
