"""What a person does on the page, in the photograph's pixels; knows no test."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Point = tuple[float, float]
Pixels = npt.NDArray[np.uint8]

# As `deploy/web/view.js` fits a photograph.
_MARGIN = 16
_LARGEST_FIT = 4

# Of the brush, in pixels of the photograph.
STROKE = ((80.0, 60.0), (120.0, 110.0), (150.0, 100.0))


class Screen:
    """The tab that fills; `page` is Playwright's."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.tab = page.locator("#fill")
        self.stage = self.tab.locator(".stage")
        self.divider = self.tab.locator(".divider")
        self.notice = self.tab.locator(".notice")
        self._size = (0, 0)

    def part(self, name: str) -> Any:
        return self.tab.locator(f'[data-part="{name}"]')

    def option(self, name: str, value: str) -> None:
        """Give an option this value, whichever sheet it is on."""
        set_value = """(input, value) => {
            if (input.type === "checkbox") input.checked = value === "true";
            else input.value = value;
            input.dispatchEvent(new Event("input", { bubbles: true }));
        }"""
        self.tab.locator(f'[data-option="{name}"]').evaluate(set_value, value)

    def button(self, action: str) -> Any:
        return self.tab.locator(f'button[data-action="{action}"]')

    def open(self, photo: Path) -> None:
        """Choose a file; the page knows its size afterwards, and so does this."""
        with Image.open(photo) as image:
            self._size = image.size
        self.tab.locator('.welcome input[type="file"]').set_input_files(photo)
        self.stage.wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def at(self, point: Point) -> Point:
        """Where a pixel of the photograph, fitted to the stage, is on the screen."""
        box = self.stage.bounding_box()
        width, height = self._size
        scale = min(
            (box["width"] - 2 * _MARGIN) / width,
            (box["height"] - 2 * _MARGIN) / height,
            _LARGEST_FIT,
        )
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        return left + point[0] * scale, top + point[1] * scale

    def drag(self, points: Sequence[Point]) -> None:
        """Press the mouse at the first of these pixels and let go at the last."""
        mouse = self.page.mouse
        mouse.move(*self.at(points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.at(point), steps=4)
        mouse.up()
        self.settle()

    def choose(self, tool: str) -> None:
        self.tab.locator(f'input[name="tool"][value="{tool}"]').locator("..").click()

    def fill(self) -> None:
        """Fill by the button, and wait for the result."""
        self.button("fill").click()
        self.wait_filled()

    def wait_filled(self) -> None:
        """Until the newest step is an answer: only then another result can be asked for."""
        self.button("again").and_(self.page.locator(":enabled")).wait_for()
        self.settle()

    def wait_kept(self) -> None:
        """Until all that was done is written: a moment after the last change."""
        self.page.wait_for_timeout(700)

    def mask(self, least: int = 128) -> npt.NDArray[np.bool_]:
        """The hole, as the page exports it: of so much grey, 1 for all that a brush touched."""
        with self.page.expect_download() as caught:
            self.part("export").dispatch_event("click")
        grey = np.array(Image.open(caught.value.path()).convert("L"))
        marked: npt.NDArray[np.bool_] = grey >= least
        return marked

    def download(self) -> tuple[str, Pixels]:
        """Name and pixels of what the button gives."""
        with self.page.expect_download() as caught:
            self.button("download").click()
        data = Path(caught.value.path()).read_bytes()
        return caught.value.suggested_filename, np.array(Image.open(io.BytesIO(data)))

    def shown(self) -> Pixels:
        """The stage's picture as it is drawn now."""
        self.settle()
        url = self.part("canvas").evaluate("canvas => canvas.toDataURL()")
        return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))

    def sent_fills(self) -> list[bytes]:
        """The body of each fill that is sent from now on."""
        sent: list[bytes] = []

        def keep(route: Any) -> None:
            sent.append(route.request.post_data_buffer)
            route.continue_()

        self.page.route("**/v1/inpaint", keep)
        return sent
