"""Accessibility of every state of the page, by axe-core."""

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


def run_axe(screen: Screen, axe: str) -> list[str]:
    """What the checker finds wrong in the page as it is now."""
    screen.page.evaluate(axe)
    screen.settle()
    found: list[str] = screen.page.evaluate(_RUN)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_every_state_is_accessible(
    open_page: Callable[..., Screen], photo: Path, axe: str, scheme: str, width: int
) -> None:
    screen = open_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
    )

    def check(state: str) -> None:
        assert run_axe(screen, axe) == [], state

    check("welcome")
    screen.open(photo)
    check("photo")
    screen.button("fill").click()
    check("notice")
    screen.drag([(80, 60), (120, 110)])
    for sheet in ("brush-sheet", "options-sheet", "more-sheet"):
        screen.tab.locator(f'.bar [popovertarget="{sheet}"]').click()
        check(sheet)
        screen.page.keyboard.press("Escape")
    screen.tab.locator('[popovertarget="more-sheet"]').click()
    screen.tab.locator('[popovertarget="canvas-sheet"]').click()
    check("canvas-sheet")
    screen.page.keyboard.press("Escape")
    screen.page.keyboard.press("Escape")
    screen.tab.locator('[popovertarget="more-sheet"]').click()
    screen.tab.locator('[popovertarget="mask-sheet"]').click()
    check("mask-sheet")
    screen.page.keyboard.press("Escape")
    screen.page.keyboard.press("Escape")
    screen.fill()
    check("filled")
    screen.button("compare").click()
    check("comparison")
    screen.choose("select")
    check("select")
    screen.tab.locator("#more-sheet input[multiple]").set_input_files([photo, photo])
    screen.tab.locator(".tray li").nth(2).wait_for()
    check("tray")
    screen.page.keyboard.press("PageUp")
    screen.page.keyboard.press("PageUp")
    screen.tab.locator(".tray .photo[aria-current=true]").and_(
        screen.page.locator("li:first-child > *")
    ).wait_for()
    screen.tab.locator(".tray .close").first.click()
    check("sure")
    screen.page.keyboard.press("Escape")
    screen.page.keyboard.press("?")
    check("keys")
    screen.page.keyboard.press("Escape")
    screen.page.locator("#tab-look").click()
    check("style")
