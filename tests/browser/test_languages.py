"""The page in the reader's language, and in colours that the system forces."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.screen import Screen
from tests.browser.test_access import run_axe

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("locale", "language", "fill"),
    [("de-AT", "de", "Füllen"), ("zh-CN", "zh", "填补"), ("fr-FR", "en", "Fill")],
)
def test_the_browsers_language_is_taken(
    open_page: Callable[..., Screen], photo: Path, locale: str, language: str, fill: str
) -> None:
    screen = open_page(locale=locale)
    assert screen.page.locator("html").get_attribute("lang") == language
    screen.open(photo)
    assert screen.button("fill").inner_text() == fill
    screen.button("fill").click()
    assert screen.notice.is_visible()


def test_another_language_is_chosen_and_kept(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.page.locator("#language").select_option("de")
    screen.page.locator("html[lang=de]").wait_for()
    assert screen.button("fill").inner_text() == "Füllen"
    assert screen.button("undo").get_attribute("title") == "Rückgängig (Strg Z)"
    screen.wait_kept()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    assert screen.button("fill").inner_text() == "Füllen"
    assert screen.page.locator("#language").input_value() == "de"


@pytest.mark.parametrize("locale", ["de-DE", "zh-CN"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_longer_words_fit(
    open_page: Callable[..., Screen], photo: Path, locale: str, width: int
) -> None:
    screen = open_page(viewport={"width": width, "height": 844}, locale=locale)
    screen.open(photo)
    assert screen.page.evaluate("document.documentElement.scrollWidth") == width
    for button in screen.tab.locator(".bar button:visible, .bar label:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= 844


def test_forced_colours(open_page: Callable[..., Screen], photo: Path, axe: str) -> None:
    screen = open_page(forced_colors="active", bypass_csp=True)
    screen.open(photo)
    screen.drag([(80, 60), (120, 110)])
    assert run_axe(screen, axe) == []
    # What is chosen is seen: by a colour of its own.
    colour = "label => getComputedStyle(label).backgroundColor"
    chosen = screen.tab.locator('label:has(input[value="brush"])').evaluate(colour)
    other = screen.tab.locator('label:has(input[value="lasso"])').evaluate(colour)
    assert chosen != other
    # A photo keeps its colours: the painted hole is the gold that it is elsewhere.
    shown = screen.shown()[..., :3].reshape(-1, 3)
    assert len(set(map(tuple, shown[::97].tolist()))) > 50
