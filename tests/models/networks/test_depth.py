"""Depth is counted from the nearest known pixel."""

import torch

from kintsugi.models.networks.depth import depth_in


def test_it_grows_from_the_edge_to_the_deepest() -> None:
    hole = torch.zeros(2, 1, 40, 50)
    # The first ends at the picture's frame, which is no edge of it.
    hole[0, :, 10:, 10:] = 1
    hole[1, :, 5:10, 5:10] = 1
    rows, columns = torch.arange(40)[:, None], torch.arange(50)
    first = torch.minimum(rows - 9, columns - 9).clamp(0, 12)
    second = torch.minimum(
        torch.minimum(rows - 4, 10 - rows), torch.minimum(columns - 4, 10 - columns)
    )
    expected = torch.stack([first, second.clamp_min(0)])[:, None] / 12
    torch.testing.assert_close(depth_in(hole, 12), expected)


def test_what_is_partly_hole_is_hole_and_a_picture_that_is_all_hole_is_deep() -> None:
    hole = torch.zeros(1, 1, 16, 16)
    hole[..., 4:12, 4:12] = 1
    soft = hole * torch.linspace(0.1, 1, 16)
    torch.testing.assert_close(depth_in(soft, 4), depth_in(hole, 4))
    assert (depth_in(torch.ones(1, 1, 8, 8), 4) == 1).all()
