"""What comes in another order than it was asked for, and what a browser cannot do."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.screen import Screen
from tests.deploy.conftest import draw_photo, encode

pytestmark = pytest.mark.browser

# The first picture takes as long as the test wants.
_HOLD_FIRST = """() => {
    const decode = window.createImageBitmap.bind(window);
    let first = new Promise(done => { window.letGo = done; });
    window.createImageBitmap = async (...given) => {
        const held = first;
        first = null;
        await held;
        return decode(...given);
    };
}"""


def choose(part: Any, name: str, height: int, width: int) -> None:
    data = encode(draw_photo(height, width))
    part.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})


def test_the_photo_that_was_opened_last_stays(screen: Screen) -> None:
    screen.page.evaluate(_HOLD_FIRST)
    opener = screen.tab.locator('.welcome input[type="file"]')
    choose(opener, "first.png", 50, 70)
    choose(opener, "second.png", 90, 120)
    said = screen.part("status")
    said.get_by_text("second.png").wait_for(state="attached")
    screen.page.evaluate("window.letGo()")
    screen.tab.locator(".tray .photo").nth(1).wait_for()
    assert "second.png" in said.inner_text()
    assert screen.mask().shape == (90, 120)


def test_two_presses_are_one_transfer(screen: Screen) -> None:
    page = screen.page
    page.locator("#tab-look").click()
    look = page.locator("#look")
    sent = []

    def answer(route: Any) -> None:
        sent.append(route.request.url)
        route.fulfill(body=encode(draw_photo(32, 40)), content_type="image/png")

    page.route("**/v1/stylize", answer)
    # Large enough to be made smaller first, which takes a while.
    choose(look.locator('[data-part="open-content"]'), "large.png", 2100, 2100)
    look.get_by_alt_text("large.png").wait_for()
    choose(look.locator('[data-part="open-style"]'), "ink.png", 64, 72)
    look.get_by_alt_text("ink.png").wait_for()
    page.evaluate(
        """() => {
            const button = document.querySelector('#look [data-action="fill"]');
            for (const _ of [1, 2, 3]) button.click();
        }"""
    )
    look.get_by_text("Done.").wait_for(state="attached")
    assert len(sent) == 1


def test_a_format_that_the_browser_cannot_write_is_said(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag([(80, 60), (120, 110)])
    screen.fill()
    # As Safari does with WebP.
    screen.page.evaluate(
        """() => {
            const write = HTMLCanvasElement.prototype.toBlob;
            HTMLCanvasElement.prototype.toBlob = function (done, type, quality) {
                write.call(this, done, type === "image/webp" ? "image/png" : type, quality);
            };
        }"""
    )
    # Without the service the browser writes the file.
    screen.page.route("**/v1/save", lambda route: route.abort())
    screen.option("format", "webp")
    screen.button("download").click()
    screen.notice.get_by_text("This browser cannot save WEBP.").wait_for()
    screen.option("format", "jpeg")
    assert screen.download()[0] == "beach-filled.jpg"
