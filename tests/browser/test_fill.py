"""Filling on the page: paint, fill, compare, download; a service that is busy or gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import SUB_PATH
from tests.browser.screen import STROKE, Screen

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("path", ["/", SUB_PATH + "/"])
def test_paint_fill_compare_and_download(
    open_page: Callable[..., Screen], photo: Path, path: str
) -> None:
    screen = open_page(path)
    screen.open(photo)
    screen.drag(STROKE)
    hole, touched = screen.mask(), screen.mask(1)
    assert hole.shape == (240, 320)
    assert hole[60, 80]
    assert not hole[200, 20]
    screen.fill()
    # The result whole, without a divider.
    assert not screen.divider.is_visible()
    screen.button("compare").click()
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
    np.testing.assert_array_equal(answer[~touched], before[~touched])
    assert (answer[hole] != before[hole]).mean() > 0.5


def test_a_sample_is_filled_without_a_photo_of_ones_own(screen: Screen) -> None:
    assert screen.tab.locator(".welcome .sample").count() == 3
    screen.tab.locator(".welcome .sample").first.click()
    screen.stage.wait_for()
    box = screen.stage.bounding_box()
    screen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    screen.fill()
    assert screen.button("download").is_enabled()


def test_paint_fill_paint_fill_without_another_click(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    for row in (60, 120, 180):
        screen.drag([(80, row), (140, row + 10)])
        hole = screen.mask()
        assert hole[row, 80]
        assert not hole[(row + 60) % 240, 80]
        screen.page.keyboard.press("f")
        screen.wait_filled()
        assert screen.tab.locator('input[name="tool"]:checked').get_attribute("value") == "brush"
        assert not screen.divider.is_visible()
    assert not screen.mask().any()


def test_what_is_painted_while_a_fill_runs_stays(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    first, touched = screen.mask(), screen.mask(1)
    held: list[Any] = []
    screen.page.route("**/v1/inpaint", lambda route: held.append(route))
    screen.button("fill").click()
    while not held:
        screen.page.wait_for_timeout(50)
    screen.drag([(200, 150), (230, 170)])
    second = screen.mask()
    assert second[150, 200]
    assert not (first & second).any()
    # What was sent is not taken back while it runs, what came later is.
    screen.button("undo").click()
    assert screen.button("undo").is_disabled()
    screen.button("redo").click()
    held[0].continue_()
    screen.button("download").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), second)
    answer = screen.download()[1]
    before = np.array(Image.open(photo))
    np.testing.assert_array_equal(answer[~touched], before[~touched])

    # Cancelled, both holes are one again.
    held.clear()
    screen.button("fill").click()
    while not held:
        screen.page.wait_for_timeout(50)
    screen.drag(STROKE)
    screen.tab.locator(".job button").click()
    screen.button("fill").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), first | second)


def test_the_brush_fills_when_it_is_lifted(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.tab.locator('[popovertarget="brush-sheet"]').click()
    screen.part("fill-on-release").check()
    screen.page.keyboard.press("Escape")
    screen.drag(STROKE)
    screen.wait_filled()
    screen.drag([(200, 150), (230, 170)])
    screen.wait_filled()
    assert not screen.mask().any()
    assert (screen.download()[1] != np.array(Image.open(photo))).any()
    # It is preferred the next time, too.
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    assert screen.part("fill-on-release").is_checked()


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
    assert screen.button("download").is_disabled()
    assert not screen.notice.is_visible()
    np.testing.assert_array_equal(screen.mask(), before)


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
    screen.wait_filled()
    assert answers == []
