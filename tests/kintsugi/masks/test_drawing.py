"""kintsugi.masks.drawing: runs of pixels are what the distance of every pixel says."""

import numpy as np
import pytest

from kintsugi.masks.drawing import Line, between, between_all, disc, draw_lines


def by_distance(height: int, width: int, line: Line) -> np.ndarray:
    """Every pixel asked for its distance from the line, in whole numbers."""
    (x0, y0), (x1, y1), thick = line
    x, y = np.arange(width)[None, :] - x0, np.arange(height)[:, None] - y0
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    along = x * dx + y * dy
    near = 4 * (x * dy - y * dx) ** 2 <= thick * thick * length
    ends = np.minimum(x * x + y * y, (x - dx) ** 2 + (y - dy) ** 2) * 4 <= thick * thick
    middle: np.ndarray = near & (along >= 0) & (along <= length) & (length > 0)
    return middle | ends


@pytest.mark.parametrize(("height", "width"), [(40, 57), (130, 64)])
def test_a_line_is_every_pixel_within_half_its_thickness(height: int, width: int) -> None:
    rng = np.random.default_rng(3)
    for thick in (1, 2, 3, 8, 31, 90):
        for flat in (False, True):
            (x0, y0), (x1, y1) = rng.integers(-20, 150, (2, 2)).tolist()
            line = Line((x0, y0), (x1, y0 if flat else y1), thick)
            for each in (line, Line(line.end, line.start, thick), Line((y0, x0), (y0, x1), thick)):
                mask = np.zeros((height, width), np.bool_)
                draw_lines(mask, [each])
                assert np.array_equal(mask, by_distance(height, width, each)), each


def test_lines_add_to_what_is_drawn_and_to_one_another() -> None:
    lines = [Line((3, 4), (30, 20), 7), disc((25, 8), 6), Line((200, 200), (210, 250), 3)]
    mask = np.zeros((40, 50), np.bool_)
    mask[39] = True
    expected = mask | by_distance(40, 50, lines[0]) | by_distance(40, 50, lines[1])
    draw_lines(mask, lines)
    draw_lines(mask, [])
    assert np.array_equal(mask, expected)


def test_large_images_are_exact() -> None:
    """Where float64 no longer holds every whole number."""
    line = Line((-10_000, 3), (9_001, 6_407), 9_001)
    mask = np.zeros((32, 64), np.bool_)
    draw_lines(mask, [line])
    assert np.array_equal(mask, by_distance(32, 64, line))


def test_many_numbers_at_once_are_those_one_by_one() -> None:
    bounds = ((0, 3), (5, 5), (-7, 900), (1, 2))
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    for times in (1, 3, 6):
        singly = [[between(one, *pair) for pair in bounds] for _ in range(times)]
        assert between_all(other, bounds, times) == singly
