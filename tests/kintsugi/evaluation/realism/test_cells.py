"""Which cells are drawn, and that a crop around the hole gives what the whole image gives."""

import numpy as np
import pytest
import torch

from kintsugi.evaluation.realism.cells import (
    LAYERS,
    CellEncoder,
    as_bytes,
    draw_cells,
    from_bytes,
    sample_fill,
    sample_original,
)
from kintsugi.models.networks.vgg import Vgg19Relu3


def test_draws_are_disjoint_and_decided_by_the_key() -> None:
    hole = np.zeros((20, 20), np.bool_)
    hole[3:13, 5:15] = True
    first, second = draw_cells(hole, "a", 48)
    assert len(first) == len(second) == 48
    assert not set(first.tolist()) & set(second.tolist())
    assert hole.ravel()[np.concatenate([first, second])].all()
    assert np.array_equal(draw_cells(hole, "a", 48)[0], first)
    assert not np.array_equal(draw_cells(hole, "b", 48)[0], first)
    # Half of what there is where that is less.
    hole[:] = False
    hole[0, :5] = True
    assert [len(draw) for draw in draw_cells(hole, "a", 48)] == [2, 2]
    assert [len(draw) for draw in draw_cells(hole & False, "a", 48)] == [0, 0]


def test_cells_are_those_of_the_whole_image_wholly_inside_the_hole() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 96, 112, generator=generator)
    encoder = Vgg19Relu3.random(0)
    mask = torch.zeros(1, 1, 96, 112)
    # Neither side nor place fits the cells.
    mask[..., 41:62, 38:63] = 1
    first, second = sample_original(image, mask, CellEncoder(encoder), key="a", cells=1000)
    whole = encoder(image)[0]
    # Rows 44-60 and columns 40-60 are whole cells of 4 px.
    expected = whole[:, 11:15, 10:15].flatten(1).T.numpy()
    found = np.concatenate([first["relu3_1"], second["relu3_1"]]).astype(np.float32)
    assert found.shape == (20, 256)
    nearest = np.abs(found[:, None] - expected[None]).max(axis=2)
    assert (nearest.min(axis=1) < 0.01).all()
    assert sorted(nearest.argmin(axis=1).tolist()) == list(range(20))
    # Rows 42-62 and columns 38-62 are whole cells of 2 px.
    assert 2 * len(first["relu2_1"]) == 10 * 12


@pytest.mark.parametrize("corner", [slice(0, 30), slice(66, 96)])
def test_holes_at_the_border_see_the_border(corner: slice) -> None:
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    encoder = Vgg19Relu3.random(0)
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., corner, corner] = 1
    first, second = sample_original(image, mask, CellEncoder(encoder), key="a", cells=1000)
    cells = slice(-(-corner.start // 4), corner.stop // 4)
    expected = encoder(image)[0][:, cells, cells].flatten(1).T.numpy()
    found = np.concatenate([first["relu3_1"], second["relu3_1"]]).astype(np.float32)
    distances = np.abs(found[:, None] - expected[None]).max(axis=2)
    # An odd one may be left over.
    assert len(found) >= len(expected) - 1
    assert (distances.min(axis=1) < 0.01).all()


def test_a_fill_is_sampled_where_the_second_draw_is() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 10:50, 10:50] = 1
    encoder = CellEncoder(Vgg19Relu3.random(0))
    _, second = sample_original(image, mask, encoder, key="a")
    # Known pixels of the fill are not looked at.
    fill = torch.where(mask > 0, image, 0.0)
    drawn = sample_fill(image, fill, mask, encoder, key="a")
    assert list(drawn) == list(LAYERS)
    for name, cells in drawn.items():
        assert np.array_equal(cells, second[name])


def test_cells_travel_as_bytes() -> None:
    cells = {"relu2_1": np.random.default_rng(0).normal(size=(5, 128)).astype(np.float16)}
    ((name, found),) = from_bytes(as_bytes(cells)).items()
    assert name == "relu2_1"
    assert np.array_equal(found, cells["relu2_1"])
