"""Cells that are copied: likely ones, that fit their neighbours, from what is known alone."""

import torch
from torch import Tensor

from kintsugi.models.networks.cell_copy import copied_cells


def grid_of(cells: Tensor) -> tuple[Tensor, int]:
    """Cells of four pixels of one colour each, row by row, and the grid's width."""
    return cells.flatten()[:, None].expand(-1, 12).contiguous(), cells.shape[1]


def without(hole: Tensor, count: int) -> Tensor:
    known = torch.ones(count, dtype=torch.bool)
    known[hole] = False
    return known.nonzero().flatten()


def test_many_cells_of_one_kind_win_over_a_likelier_single_one() -> None:
    cells, width = grid_of(torch.tensor([[0.5, 0.9, 0.2], [0.2, 0.21, 0.2]]))
    hole = torch.tensor([0])
    likelihood = torch.tensor([[0.4, 0.15, 0.15, 0.15, 0.15]])
    source = copied_cells(likelihood, cells, hole, without(hole, 6), width)
    assert source.item() in (2, 3, 4, 5)


def test_a_kind_that_is_sure_stays() -> None:
    cells, width = grid_of(torch.tensor([[0.5, 0.9, 0.2], [0.2, 0.21, 0.2]]))
    hole = torch.tensor([0])
    likelihood = torch.tensor([[1.0, 0, 0, 0, 0]])
    assert copied_cells(likelihood, cells, hole, without(hole, 6), width).item() == 1


def test_stripes_go_on_instead_of_one_cell_again_and_again() -> None:
    """All dark and light cells are equally likely; what is known to the left decides."""
    stripes = torch.tensor([0.1, 0.5, 0.9]).repeat(8)[None].expand(12, -1)
    cells, width = grid_of(stripes)
    rows, columns = torch.meshgrid(torch.arange(4, 8), torch.arange(9, 15), indexing="ij")
    hole = (rows * width + columns).flatten()
    known = without(hole, len(cells))
    likelihood = torch.full((len(hole), len(known)), 1 / len(known))
    source = copied_cells(likelihood, cells, hole, known, width)
    wrong = (cells[source] - cells[hole]).abs().mean(1) > 0.05
    assert wrong.float().mean() < 0.15


def test_it_copies_what_is_known_and_decides_the_same_each_time(generator: torch.Generator) -> None:
    cells = torch.rand(6 * 7, 12, generator=generator)
    hole = torch.tensor([0, 1, 7, 8, 24, 25, 41])
    known = without(hole, 42)
    likelihood = torch.rand(len(hole), len(known), generator=generator).softmax(1)
    source = copied_cells(likelihood, cells, hole, known, 7)
    assert not set(source.tolist()) & set(hole.tolist())
    assert torch.equal(source, copied_cells(likelihood, cells, hole, known, 7))
    # What the hole's cells hold does not matter.
    other = cells.index_copy(0, hole, torch.rand(len(hole), 12, generator=generator))
    assert torch.equal(source, copied_cells(likelihood, other, hole, known, 7))


def test_one_known_cell_is_enough() -> None:
    cells = torch.rand(4, 12)
    hole = torch.tensor([0, 1, 2])
    source = copied_cells(torch.ones(3, 1), cells, hole, torch.tensor([3]), 2)
    assert source.tolist() == [3, 3, 3]
