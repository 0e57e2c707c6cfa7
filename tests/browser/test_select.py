"""Selecting a thing by clicks, and by a line around it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from tests.browser.screen import Screen
from tests.deploy.conftest import Mask, encode

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 360, 480


def scene() -> tuple[npt.NDArray[np.uint8], Mask]:
    """A figure of two colours with shading and noise in front of an uneven ground, and where."""
    generator = np.random.default_rng(3)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    ground = np.stack(
        [
            110 + 30 * np.sin(columns / 40) + 20 * np.cos(rows / 25),
            130 + 25 * np.sin(rows / 33),
            90 + 20 * np.cos(columns / 51),
        ],
        axis=2,
    )
    head = ((columns - 235) / 65) ** 2 + ((rows - 140) / 50) ** 2 < 1
    body = (abs(columns - 235) < 35) & (rows >= 180) & (rows < 310)
    figure = head | body
    picture = ground.copy()
    picture[figure & (rows < 185)] = [190, 60, 50]
    picture[figure & (rows >= 185)] = [60, 70, 140]
    shade = 15 * np.sin(columns / 6 + rows / 9)
    picture[figure] += shade[figure][:, None]
    noisy = picture + generator.normal(0, 8, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8), figure


def iou(found: Mask, truth: Mask) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.fixture
def figure(screen: Screen, tmp_path: Path) -> Mask:
    pixels, figure = scene()
    path = tmp_path / "scene.png"
    path.write_bytes(encode(pixels))
    screen.open(path)
    screen.choose("select")
    return figure


def click(screen: Screen, x: float, y: float) -> None:
    screen.page.mouse.click(*screen.at((x, y)))
    screen.page.wait_for_selector("#fill:not(.selecting)")
    screen.settle()


def test_two_clicks_select_a_thing(screen: Screen, figure: Mask) -> None:
    click(screen, 235, 130)
    assert iou(screen.mask(), figure) < 0.7
    click(screen, 235, 250)
    assert iou(screen.mask(), figure) >= 0.9
    # Each click is a step of its own.
    screen.button("undo").click()
    assert iou(screen.mask(), figure) < 0.7
    screen.button("redo").click()
    assert iou(screen.mask(), figure) >= 0.9
    # A part is taken away again.
    screen.tab.locator('label:has(input[value="away"])').click()
    click(screen, 235, 130)
    assert screen.mask()[180:].sum() > 0.9 * figure[180:].sum()
    assert screen.mask()[:180].sum() < 0.3 * figure[:180].sum()


def test_of_a_large_photograph_the_soft_edge_is_selected_too(
    screen: Screen, tmp_path: Path
) -> None:
    pixels, figure = scene()
    times = 6
    size = (WIDTH * times, HEIGHT * times)
    path = tmp_path / "large.jpg"
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    large = np.kron(figure, np.ones((times, times), np.bool_))
    screen.open(path)
    screen.choose("select")
    click(screen, 235 * times, 130 * times)
    click(screen, 235 * times, 250 * times)
    found = screen.mask()
    assert iou(found, large) >= 0.9
    # Of the figure and of a pixel around it.
    around = np.array(Image.fromarray(large).filter(ImageFilter.MaxFilter(3)))
    edge = around & ~np.array(Image.fromarray(large).filter(ImageFilter.MinFilter(3)))
    assert (found & edge).sum() >= 0.8 * edge.sum()


def test_a_line_around_it_is_enough(screen: Screen, figure: Mask) -> None:
    screen.drag([(235, 70), (325, 110), (310, 200), (285, 330), (185, 330), (150, 200), (150, 100)])
    screen.page.wait_for_selector("#fill:not(.selecting)")
    assert iou(screen.mask(), figure) >= 0.9
    screen.fill()


def test_by_keyboard_and_across_a_reload(screen: Screen, figure: Mask) -> None:
    # The cursor begins in the middle, on the figure's body.
    screen.stage.focus()
    screen.page.keyboard.press("ArrowDown")
    screen.page.keyboard.press("Enter")
    screen.page.keyboard.press("Enter")
    screen.page.wait_for_selector("#fill:not(.selecting)")
    screen.settle()
    found = screen.mask()
    assert found[250, 235]
    assert iou(found, figure) > 0.3
    screen.wait_kept()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    np.testing.assert_array_equal(screen.mask(), found)
