"""A service that asks for a key: the page asks the person, once for a tab."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kintsugi.deploy.api import build_api
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.inpainter import Inpainter
from tests.browser.screen import STROKE, Screen
from tests.browser.test_access import run_axe
from tests.deploy.conftest import MODEL
from tests.http_server import serving

pytestmark = pytest.mark.browser


@pytest.fixture
def service(inpainter: Inpainter, tmp_path: Path) -> Iterator[str]:
    """In place of the open one."""
    keys = tmp_path / "keys"
    keys.write_text("shop: right-key-of-the-shop")
    args = AppArgs(release="unused", api_keys=str(keys))
    with serving(build_api(LocalEngine(inpainter, MODEL), args)) as url:
        yield url


def test_a_key_is_asked_for_and_kept(
    open_page: Callable[..., Screen], photo: Path, axe: str
) -> None:
    screen = open_page(bypass_csp=True)
    screen.open(photo)
    screen.drag(STROKE)
    dialog: Any = screen.page.locator("dialog#key")
    assert not dialog.is_visible()
    screen.button("fill").click()
    dialog.get_by_text("This service asks for a key.").wait_for()
    assert run_axe(screen, axe) == []
    field = dialog.get_by_label("API key")
    # A letter that is a shortcut elsewhere.
    field.press_sequentially("fwrong")
    dialog.get_by_text("Use it").click()
    dialog.get_by_text("The service does not know this key.").wait_for()
    assert field.input_value() == ""
    field.fill(" right-key-of-the-shop ")
    field.press("Enter")
    screen.wait_filled()
    assert not dialog.is_visible()

    # The next one goes without asking, and so it does after a reload.
    screen.drag([(40, 200), (60, 210)])
    screen.fill()
    screen.wait_kept()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    screen.drag(STROKE)
    screen.fill()


def test_who_has_no_key_keeps_what_was_painted(
    open_page: Callable[..., Screen], photo: Path
) -> None:
    screen = open_page()
    screen.open(photo)
    screen.drag(STROKE)
    before = screen.mask()
    for leave in ("Cancel", "Escape"):
        screen.button("fill").click()
        dialog = screen.page.locator("dialog#key")
        dialog.wait_for()
        if leave == "Cancel":
            dialog.get_by_text("Cancel").click()
        else:
            screen.page.keyboard.press("Escape")
        screen.notice.get_by_text("This service asks for a key.").wait_for()
        assert (screen.mask() == before).all()
