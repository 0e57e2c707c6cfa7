"""What paints on the page: every tool, undo and redo, soft edges, a larger canvas."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.screen import STROKE, Screen

pytestmark = pytest.mark.browser


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
    # On the result, with the tool that is still in hand.
    screen.drag([(40, 200), (60, 210)])
    hole, touched = screen.mask(), screen.mask(1)
    screen.fill()
    _, twice = screen.download()
    np.testing.assert_array_equal(twice[~touched], filled[~touched])
    assert (twice != filled).any()

    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), hole)
    np.testing.assert_array_equal(screen.download()[1], filled)
    screen.page.keyboard.press("Control+z")
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), both)
    assert screen.button("download").is_disabled()


def test_a_soft_brush_feathers_what_it_painted(screen: Screen, photo: Path) -> None:
    sent = screen.sent_fills()
    screen.open(photo)
    screen.tab.locator('[popovertarget="brush-sheet"]').click()
    screen.tab.get_by_role("button", name="Large, soft").click()
    assert screen.part("size-shown").inner_text() == "40 px"
    assert screen.part("hardness-shown").inner_text() == "50%"
    screen.part("keep-brush").click()
    assert screen.tab.get_by_role("button", name="12.5%, 50% hard", exact=True).is_visible()
    screen.page.keyboard.press("Escape")
    screen.drag(STROKE)
    screen.fill()
    assert b'name="feather"\r\n\r\n10\r\n' in sent[0]


def test_the_canvas_is_expanded_and_filled(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag([(20, 30), (40, 30)])
    painted, touched = screen.mask(), screen.mask(1)
    screen.tab.locator('[popovertarget="more-sheet"]').click()
    screen.tab.locator('[popovertarget="canvas-sheet"]').click()
    form = screen.part("canvas-form")
    form.locator("select").select_option("1.5")
    assert "320 × 240 becomes 360 × 240" in form.inner_text()  # noqa: RUF001
    form.locator('[name="top"]').fill("8")
    form.locator('button[type="submit"]').click()
    screen.settle()
    hole = screen.mask()
    assert hole.shape == (248, 360)
    np.testing.assert_array_equal(hole[8:, 20:340], painted)
    assert hole[:8].all()
    assert hole[:, :20].all()
    assert hole[:, 340:].all()
    screen.fill()
    answer = screen.download()[1]
    before = np.array(Image.open(photo))
    np.testing.assert_array_equal(answer[8:, 20:340, :3][~touched], before[~touched])
    screen.page.keyboard.press("Control+z")
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), painted)
