"""Boxes cover each place once, within the limits, and leave out what is worth leaving out."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.models.match.scoring.boxes import HALO, Box, cover


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    limits=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    density=st.sampled_from([0.0, 0.02, 0.2, 0.8, 1.0]),
    seed=st.integers(0, 9999),
)
def test_every_place_is_covered_once(
    size: tuple[int, int], limits: tuple[int, int], density: float, seed: int
) -> None:
    wanted = torch.rand(*size, generator=torch.Generator().manual_seed(seed)) < density
    covered = torch.zeros(size, dtype=torch.int64)
    for box in cover(wanted, rows=limits[0], columns=limits[1]):
        assert box.bottom - box.top <= limits[0]
        assert box.right - box.left <= limits[1]
        covered[box.top : box.bottom, box.left : box.right] += 1
        edges = wanted[box.top : box.bottom, box.left : box.right]
        assert all(edge.any() for edge in (edges[0], edges[-1], edges[:, 0], edges[:, -1]))
    assert covered.max() <= 1
    assert (covered[wanted] == 1).all()


def test_what_lies_between_two_places_is_left_out() -> None:
    wanted = torch.zeros(50, 60, dtype=torch.bool)
    wanted[3:6, 4:9] = wanted[3:6, 40:42] = wanted[30, 50] = True
    assert cover(wanted, rows=99, columns=99) == [
        Box(3, 6, 4, 9),
        Box(3, 6, 40, 42),
        Box(30, 31, 50, 51),
    ]


def test_places_that_a_halo_joins_are_one_box() -> None:
    wanted = torch.tensor([[True, *(HALO * [False]), True, *((HALO + 1) * [False]), True]])
    assert cover(wanted, rows=9, columns=99) == [Box(0, 1, 0, 4), Box(0, 1, 7, 8)]


def test_a_hole_among_candidates_is_not_searched() -> None:
    wanted = torch.ones(126, 126, dtype=torch.bool)
    wanted[30:96, 30:96] = False
    boxes = cover(wanted, rows=126, columns=126)
    area = sum((box.bottom - box.top) * (box.right - box.left) for box in boxes)
    assert area < 1.05 * int(wanted.sum())
    assert len(boxes) < 8


def test_a_slanted_stroke_costs_little_more_than_it_is_long() -> None:
    wanted = torch.zeros(200, 200, dtype=torch.bool)
    for place in range(196):
        wanted[place, place : place + 4] = True
    boxes = cover(wanted, rows=70, columns=70)
    cells = sum((box.bottom - box.top + HALO) * (box.right - box.left + HALO) for box in boxes)
    assert cells < 200 * 200 / 5
    assert len(boxes) < 20
