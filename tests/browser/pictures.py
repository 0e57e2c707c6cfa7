"""The README's pictures of the page, from a service that runs.

make serve
.venv/bin/python -m tests.browser.pictures http://127.0.0.1:8000 docs
"""

import io
import sys
from pathlib import Path
from shutil import which
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

# Points of the stage, from its left and top edge: 0-1. The mast on the right of the rocket, down
# its left leg and its right one.
_STROKE = ((0.637, 0.27), (0.637, 0.6), (0.634, 0.97), (0.637, 0.6), (0.65, 0.8), (0.668, 0.97))


def main(url: str, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=which("chromium"), args=["--no-sandbox"]
        )
        page = _open(browser, url, "light")
        _paint(page)
        _save(page, folder / "page-paint.png")
        page = _open(browser, url, "dark")
        _paint(page)
        page.locator('[data-option="align_colour"]').evaluate("box => { box.checked = true; }")
        page.locator('[data-option="feather"]').evaluate("slider => { slider.value = 6; }")
        page.keyboard.press("f")
        page.locator('#fill [data-action="again"]:enabled').wait_for(timeout=120_000)
        page.keyboard.press("c")
        divider = page.locator("#fill .divider")
        divider.focus()
        for _ in range(6):
            page.keyboard.press("ArrowLeft")
        divider.blur()
        page.wait_for_timeout(300)
        _save(page, folder / "page-compare.png")
        browser.close()


def _open(browser: Browser, url: str, scheme: Any) -> Any:
    page = browser.new_page(viewport={"width": 1180, "height": 740}, color_scheme=scheme)
    page.goto(url)
    page.get_by_role("button", name="Rocket").first.click()
    page.locator("#fill .stage").wait_for()
    page.wait_for_timeout(300)
    return page


def _paint(page: Any) -> None:
    box = page.locator("#fill .stage").bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in _STROKE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()
    page.wait_for_timeout(200)


def _save(page: Any, path: Path) -> None:
    """In 256 colours: a third of the bytes, and no difference at the README's size."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    colours = picture.quantize(256)
    picture.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
