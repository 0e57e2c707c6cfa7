"""What takes long goes as a job: with percent, across a reload and across a restart."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.restartable import Restartable
from tests.browser.screen import Screen
from tests.deploy.conftest import draw_photo, encode

pytestmark = pytest.mark.browser

STROKE = ((280.0, 200.0), (420.0, 310.0), (450.0, 300.0))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restartable]:
    service = Restartable(tmp_path_factory.mktemp("jobs"))
    yield service
    service.kill()


@pytest.fixture
def service(slow: Restartable) -> Iterator[str]:
    """In place of the one without jobs."""
    slow.allow(None)
    yield slow.url
    slow.allow(None)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """So large that it is filled over several scales."""
    path = tmp_path / "beach.png"
    path.write_bytes(encode(draw_photo(700, 900)))
    return path


def percent(screen: Screen) -> int:
    """What is said of how far it is, once it is."""
    said = screen.tab.locator(".job-text").filter(has_text=re.compile(r"\d+%"))
    said.wait_for()
    found = re.search(r"(\d+)%", said.inner_text())
    assert found
    return int(found[1])


def test_percent_and_time_left_are_said(screen: Screen, large: Path, slow: Restartable) -> None:
    slow.allow(2)
    screen.open(large)
    screen.drag(STROKE)
    screen.button("fill").click()
    percent(screen)
    left = screen.tab.locator(".job-text").filter(has_text=re.compile(r"about \d+ (s|min) left"))
    left.wait_for()
    assert 10 < percent(screen) < 100
    bar = screen.tab.locator(".job progress")
    assert 0.1 < float(bar.get_attribute("value") or 0) < 1
    slow.allow(None)
    screen.wait_filled()


def test_a_reload_does_not_lose_it(screen: Screen, large: Path, slow: Restartable) -> None:
    slow.allow(1)
    screen.open(large)
    screen.drag(STROKE)
    hole, touched = screen.mask(), screen.mask(1)
    asked: list[str] = []
    screen.page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    screen.button("fill").click()
    percent(screen)
    # Away from the stage, where it draws a brush.
    screen.page.mouse.move(2, 2)
    filling = screen.shown()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    percent(screen)
    # What is being filled is still seen.
    np.testing.assert_allclose(screen.shown(), filling, atol=2)
    slow.allow(None)
    screen.wait_filled()
    after = screen.download()[1]
    before = np.array(Image.open(large))
    np.testing.assert_array_equal(after[~touched], before[~touched])
    assert (after[hole] != before[hole]).mean() > 0.5
    sent = [one for one in asked if one.startswith("POST") and "/v1/save" not in one]
    assert len(sent) == 1
    # What nobody needs any more is deleted from the service.
    assert len([one for one in asked if one.startswith("DELETE")]) == 1


def test_a_service_that_is_killed_and_started_again_ends_it(
    screen: Screen, large: Path, slow: Restartable
) -> None:
    slow.allow(1)
    screen.open(large)
    screen.drag(STROKE)
    screen.button("fill").click()
    percent(screen)
    slow.kill()
    slow.allow(None)
    text = screen.tab.locator(".job-text")
    text.get_by_text("the service does not answer: waiting for it").wait_for()
    slow.start()
    screen.wait_filled()
    assert not screen.notice.is_visible()
    assert screen.button("download").is_enabled()


def test_a_service_that_is_killed_ends_it_for_a_page_that_is_reloaded(
    screen: Screen, large: Path, slow: Restartable
) -> None:
    slow.allow(1)
    screen.open(large)
    screen.drag(STROKE)
    hole, touched = screen.mask(), screen.mask(1)
    screen.button("fill").click()
    percent(screen)
    slow.kill()
    slow.start()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    percent(screen)
    slow.allow(None)
    screen.wait_filled()
    assert not screen.notice.is_visible()
    after, before = screen.download()[1], np.array(Image.open(large))
    np.testing.assert_array_equal(after[~touched], before[~touched])
    assert (after[hole] != before[hole]).mean() > 0.5


def test_a_job_is_cancelled(screen: Screen, large: Path, slow: Restartable) -> None:
    slow.allow(1)
    screen.open(large)
    screen.drag(STROKE)
    hole = screen.mask()
    screen.button("fill").click()
    percent(screen)
    with screen.page.expect_response(lambda answer: answer.request.method == "DELETE") as gone:
        screen.tab.locator(".job button").click()
    assert gone.value.status == 200
    # Asked here: the page reads no body of it, and Playwright would wait for it for ever.
    with urllib.request.urlopen(gone.value.url, timeout=30) as answer:  # noqa: S310
        assert json.load(answer)["state"] == "cancelled"
    screen.button("fill").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), hole)


@pytest.mark.parametrize("size", [(4032, 3024), (8064, 6048)], ids=["12 MP", "48 MP"])
def test_large_photos_are_filled(
    open_page: Callable[..., Screen], tmp_path: Path, slow: Restartable, size: tuple[int, int]
) -> None:
    slow.allow(1)
    width, height = size
    small = Image.fromarray(draw_photo(height // 8, width // 8))
    path = tmp_path / "large.jpg"
    small.resize(size).save(path, quality=90)
    screen = open_page()
    screen.open(path)
    screen.drag([(width * 0.4, height * 0.4), (width * 0.42, height * 0.41)])
    touched = screen.mask(1)
    assert touched.shape == (height, width)
    screen.button("fill").click()
    # Held until it was seen: so small a hole is filled before anybody asks how far it is.
    percent(screen)
    slow.allow(None)
    screen.wait_filled()
    screen.option("format", "png")
    after = screen.download()[1]
    assert after.shape[:2] == (height, width)
    before = np.array(Image.open(path))
    np.testing.assert_array_equal(after[~touched][::101, :3], before[~touched][::101])
