"""The documentation at /docs, in the browser: whole, accessible, and of this origin alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SUB_PATH
from tests.browser.screen import Screen
from tests.browser.test_access import run_axe
from tests.deploy.conftest import MASK, MODEL, PHOTO, encode

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
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


def section_of(page: Any, route: str) -> Any:
    heading = page.get_by_role("heading", name=route, exact=True)
    return page.locator("main section").filter(has=heading)


def fill_by_trying(section: Any, folder: Path) -> None:
    section.locator("summary").click()
    for name, pixels in (("image", PHOTO), ("mask", MASK)):
        (folder / f"{name}.png").write_bytes(encode(pixels))
        row_of(section, name).locator("input").set_input_files(folder / f"{name}.png")


def row_of(section: Any, name: str) -> Any:
    return section.locator("label").filter(has=section.page.get_by_text(name, exact=True))


@pytest.mark.parametrize("path", ["/docs", SUB_PATH + "/docs"])
def test_a_route_is_tried(
    open_page: Callable[..., Screen], axe: str, tmp_path: Path, path: str
) -> None:
    screen = open_page(path, bypass_csp=True)
    section = section_of(screen.page, "POST /v1/inpaint")
    fill_by_trying(section, tmp_path)
    row_of(section, "feather").locator("input").fill("3")
    row_of(section, "align_colour").locator("select").select_option("false")
    section.get_by_role("button", name="Send").click()
    image = section.locator("img")
    image.wait_for()
    screen.page.wait_for_function("() => document.querySelector('.answer img').naturalWidth > 0")
    assert image.evaluate("image => image.naturalWidth") == PHOTO.shape[1]
    said = section.locator(".answer").inner_text()
    assert "200" in said
    assert f"x-model-version: {MODEL.version}" in said
    assert run_axe(screen, axe) == []
    # What is refused is shown as it comes.
    row_of(section, "feather").locator("input").fill("99")
    section.get_by_role("button", name="Send").click()
    section.get_by_text("feather_out_of_range").wait_for()


def test_routes_without_a_body_and_with_json(open_page: Callable[..., Screen]) -> None:
    page = open_page("/docs").page
    models = section_of(page, "GET /v1/models")
    models.locator("summary").click()
    models.get_by_role("button", name="Send").click()
    models.locator(".answer").get_by_text(MODEL.name).last.wait_for()
    one = section_of(page, "GET /v1/jobs/{job_id}")
    one.locator("summary").click()
    row_of(one, "job_id").locator("input").fill("a b/c")
    one.get_by_role("button", name="Send").click()
    # It was one part of the path, and this service keeps no jobs.
    one.locator(".answer").get_by_text("http_error").wait_for()
    infer = section_of(page, "POST /v2/models/{release}/infer")
    infer.locator("summary").click()
    row_of(infer, "release").locator("input").fill(MODEL.name)
    infer.get_by_role("button", name="Send").click()
    infer.locator(".answer").get_by_text("image").first.wait_for()
