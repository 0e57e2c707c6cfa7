"""A phone: one finger paints, two zoom, and everything is within reach; and a pen."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.screen import Point, Screen

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def phone(open_page: Callable[..., Screen], photo: Path) -> Screen:
    screen = open_page(**PHONE)
    screen.open(photo)
    return screen


class Fingers:
    """Touches of the screen, through the debugger's protocol."""

    def __init__(self, screen: Screen) -> None:
        self._session = screen.page.context.new_cdp_session(screen.page)

    def send(self, kind: str, points: Sequence[Point]) -> None:
        touches = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
        event = {"type": kind, "touchPoints": touches}
        self._session.send("Input.dispatchTouchEvent", event)


def test_one_finger_paints_and_two_zoom(phone: Screen) -> None:
    fingers = Fingers(phone)
    fingers.send("touchStart", [phone.at((60, 60))])
    for x in (80, 100, 120):
        fingers.send("touchMove", [phone.at((x, 60))])
    fingers.send("touchEnd", [])
    painted = phone.mask()
    assert painted[60, 60:120].all()

    before = phone.part("zoom").text_content()
    x, y = phone.at((160, 120))
    fingers.send("touchStart", [(x - 20, y)])
    fingers.send("touchStart", [(x - 20, y), (x + 20, y)])
    for far in (40, 60, 80):
        fingers.send("touchMove", [(x - far, y), (x + far, y)])
    fingers.send("touchEnd", [(x - 80, y)])
    # The finger that is left paints nothing.
    fingers.send("touchMove", [(x - 60, y + 40)])
    fingers.send("touchEnd", [])
    phone.settle()
    assert int(phone.part("zoom").text_content().rstrip("%")) > 2 * int(before.rstrip("%"))
    np.testing.assert_array_equal(phone.mask(), painted)


def test_everything_is_within_reach(phone: Screen) -> None:
    phone.drag([(60, 60), (120, 60)])
    phone.fill()
    phone.button("compare").tap()
    for selector in (
        ".bar button:visible",
        ".bar label:visible",
        '[role="tab"]',
        ".divider:visible",
    ):
        for box in (each.bounding_box() for each in phone.page.locator(selector).all()):
            assert box["x"] >= -0.5
            assert box["x"] + box["width"] <= 375.5
            assert box["y"] + box["height"] <= 667.5
            if selector != '[role="tab"]':
                assert min(box["width"], box["height"]) >= 40
    wide = "document.documentElement.scrollWidth"
    assert phone.page.evaluate(wide) == 375
    stage = phone.stage.bounding_box()
    assert stage["height"] > 667 * 0.6
    phone.page.locator("#tab-look").tap()
    assert phone.page.evaluate(wide) == 375


def test_of_many_photos_the_one_on_the_stage_is_in_sight(phone: Screen, photo: Path) -> None:
    """A finger in its middle chooses it, and does not close it."""
    many = [
        {"name": f"{n}.png", "mimeType": "image/png", "buffer": photo.read_bytes()}
        for n in range(20)
    ]
    phone.tab.locator("#more-sheet input[multiple]").set_input_files(many)
    photos = phone.tab.locator(".tray .photo")
    photos.nth(20).wait_for()

    def in_sight() -> bool:
        phone.tab.locator('.tray .photo[aria-current="true"]').wait_for()
        phone.settle()
        return bool(
            phone.tab.locator('.tray .photo[aria-current="true"]').evaluate(
                """photo => {
                    const [seen, strip] = [photo, photo.closest("ul")].map(
                        (each) => each.getBoundingClientRect());
                    return seen.left >= strip.left && seen.right <= strip.right;
                }"""
            )
        )

    phone.tab.locator('.tray .photo[title="19.png"][aria-current="true"]').wait_for()
    assert in_sight()
    phone.stage.focus()
    for _ in range(4):
        phone.page.keyboard.press("PageUp")
    phone.tab.locator('.tray .photo[title="15.png"][aria-current="true"]').wait_for()
    assert in_sight()
    photos.first.tap()
    phone.tab.locator('.tray .photo[title="beach.png"][aria-current="true"]').wait_for()
    assert in_sight()
    assert photos.count() == 21
    phone.page.reload()
    phone.page.wait_for_selector("html[data-ready]")
    phone.tab.locator('.tray .photo[title="beach.png"][aria-current="true"]').wait_for()
    photos.nth(19).tap()
    phone.tab.locator('.tray .photo[title="18.png"][aria-current="true"]').wait_for()
    assert in_sight()


def test_a_pen_paints_by_its_pressure(screen: Screen, photo: Path) -> None:
    screen.open(photo)

    def stroke(y: float, pressure: float) -> Any:
        x, down = screen.at((100, y))
        screen.stage.evaluate(
            """(stage, [x, y, pressure]) => {
                const send = (name, x) => stage.dispatchEvent(new PointerEvent(name, {
                    pointerId: 1, pointerType: "pen", clientX: x, clientY: y, pressure,
                    button: 0, bubbles: true,
                }));
                stage.setPointerCapture = () => {};
                send("pointerdown", x);
                send("pointermove", x + 40);
                send("pointerup", x + 40);
            }""",
            [x, down, pressure],
        )
        return screen.mask()[:, 105].sum()

    soft = stroke(60, 0.2)
    firm = stroke(160, 1.0) - soft
    assert firm == 20
    assert 6 <= soft <= 10
