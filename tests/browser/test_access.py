"""Accessibility of every state of the page, by axe-core."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.screen import Screen

pytestmark = pytest.mark.browser

# What a recommendation is, too: the page has no reason not to follow it.
_RUN = """async () => {
    const found = await axe.run(document, { resultTypes: ["violations", "incomplete"] });
    return found.violations.map(rule =>
        `${rule.id}: ${rule.help}: ${rule.nodes.map(node => node.html.slice(0, 120)).join(" | ")}`);
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The checker's script; `make test-browser` fetches it and says where it is."""
    path = Path(os.environ.get("AXE_FOLDER", "")) / "axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not there: run make test-browser where npm is installed")
    return path.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_every_state_is_accessible(
    open_page: Callable[..., Screen], photo: Path, axe: str, scheme: str, width: int
) -> None:
    screen = open_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
    )
    screen.page.evaluate(axe)

    def check(state: str) -> None:
        screen.settle()
        assert screen.page.evaluate(_RUN) == [], state

    check("welcome")
    screen.open(photo)
    check("photo")
    screen.button("fill").click()
    check("notice")
    screen.drag([(80, 60), (120, 110)])
    for sheet in ("mask-sheet", "options-sheet"):
        screen.tab.locator(f'[popovertarget="{sheet}"]').click()
        check(sheet)
        screen.page.keyboard.press("Escape")
    screen.fill()
    check("comparison")
    screen.page.keyboard.press("?")
    check("keys")
    screen.page.keyboard.press("Escape")
    screen.page.locator("#tab-look").click()
    check("style")
