"""Results on the page: before and after, another one for the same hole, the clipboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    first = screen.download()[1]
    for _ in range(2):
        screen.button("again").click()
        screen.tab.locator(".job").wait_for(state="hidden")
        screen.wait_filled()
    assert [b'name="seed"\r\n\r\n%d\r\n' % seed in body for seed, body in enumerate(sent)] == [
        True,
        True,
        True,
    ]
    screen.page.keyboard.press("Control+z")
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.download()[1], first)
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), hole)


@pytest.mark.parametrize("end", ["refused", "cancelled", "closed"])
def test_an_answer_stands_until_there_is_another(screen: Screen, photo: Path, end: str) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    hole = screen.mask()
    screen.fill()
    first = screen.download()[1]
    screen.wait_kept()
    held: list[Any] = []
    screen.page.route("**/v1/inpaint", lambda route: held.append(route))
    screen.button("again").click()
    while not held:
        screen.page.wait_for_timeout(50)
    if end == "refused":
        problem = {"title": "no", "status": 422, "code": "no", "detail": "no", "hint": ""}
        held[0].fulfill(status=422, json=problem, content_type="application/problem+json")
    elif end == "cancelled":
        screen.tab.locator(".job button").click()
    else:
        screen.wait_kept()
        screen.page.reload()
        screen.page.wait_for_selector("html[data-ready]")
    screen.button("again").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.download()[1], first)
    assert not screen.mask().any()
    screen.page.unroute("**/v1/inpaint")
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), hole)


def test_what_was_taken_back_can_be_redone_after_a_fill_that_failed(
    screen: Screen, photo: Path
) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    one = screen.mask()
    screen.drag([(200, 150), (230, 170)])
    both = screen.mask()
    screen.button("undo").click()
    held: list[Any] = []
    screen.page.route("**/v1/inpaint", lambda route: held.append(route))
    screen.button("fill").click()
    while not held:
        screen.page.wait_for_timeout(50)
    assert screen.button("redo").is_disabled()
    screen.tab.locator(".job button").click()
    screen.button("redo").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), one)
    screen.button("redo").click()
    np.testing.assert_array_equal(screen.mask(), both)


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
