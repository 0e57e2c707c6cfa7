"""The documentation at /docs, in the browser: whole, accessible, and of this origin alone."""

from collections.abc import Callable

import pytest

from tests.browser.conftest import SUB_PATH
from tests.browser.screen import Screen
from tests.browser.test_access import run_axe

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_every_route_its_fields_and_an_example(
    open_page: Callable[..., Screen], axe: str, scheme: str, width: int
) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    screen = open_page("/docs", bypass_csp=True, **options)
    page = screen.page
    routes = page.evaluate(
        """async () => {
            const { paths } = await (await fetch("openapi.json")).json();
            return Object.entries(paths).flatMap(([path, methods]) =>
                Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`));
        }"""
    )
    assert len(routes) > 8
    assert page.locator("main h2").all_inner_texts() == routes
    fill = page.locator("main section").filter(has_text="POST /v1/inpaint")
    said = fill.inner_text()
    for word in (
        "multipart/form-data",
        "feather",
        "integer, 0 to 64",
        "413",
        "-F image=@photo.jpg",
    ):
        assert word in said
    assert run_axe(screen, axe) == []


def test_it_works_below_a_sub_path_and_its_links_lead_somewhere(
    open_page: Callable[..., Screen],
) -> None:
    page = open_page(SUB_PATH + "/docs").page
    assert f"{SUB_PATH}/v1/inpaint" in page.locator("main pre").first.inner_text()
    link = page.locator("nav a").nth(3)
    link.click()
    target = page.locator(link.get_attribute("href"))
    assert target.evaluate("section => section.getBoundingClientRect().top < innerHeight")
