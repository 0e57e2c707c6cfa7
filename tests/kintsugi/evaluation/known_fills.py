"""Photographs that need no files, and fills of them whose order every eye knows."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class KnownFills(NamedTuple):
    """``originals`` and ``masks``, and from the best to the worst ``fills``, by name."""

    originals: list[Tensor]
    masks: list[Tensor]
    fills: dict[str, list[Tensor]]


def known_fills(count: int = 10, side: int = 96, hole: int = 40, seed: int = 0) -> KnownFills:
    """Grain on slow waves with a darker, redder thing in the middle that the square hole covers.

    1 3 H W, 0-1. Photographs differ by waves and shade.
    """
    originals = [_photograph(side, seed * 1000 + number) for number in range(count)]
    mask = torch.zeros(1, 1, side, side)
    start = (side - hole) // 2
    mask[..., start : start + hole, start : start + hole] = 1
    return KnownFills(
        originals,
        [mask] * count,
        {
            "original": originals,
            # As far as the hole is wide: what is copied lay outside it, in part.
            "copy": [torch.roll(image, hole // 2, dims=3) for image in originals],
            "blurred": [_blurred(image) for image in originals],
        },
    )


def _photograph(side: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phase, period, level = torch.rand(3, generator=generator)
    waves = torch.sin(6.28 * (phase + (rows + 2 * columns) / (40 + 40 * period)))
    grain = torch.rand(1, 3, side // 2, side // 2, generator=generator) - 0.5
    fine = torch.rand(1, 3, side, side, generator=generator) - 0.5
    texture = 0.5 * functional.interpolate(grain, size=(side, side), mode="nearest") + 0.2 * fine
    around = (rows - side // 2) ** 2 + (columns - side // 2) ** 2 < (side // 5) ** 2
    thing = around * torch.tensor([-0.1, -0.2, -0.25]).view(1, 3, 1, 1)
    return (0.45 + 0.2 * level + 0.1 * waves + texture + thing).clamp(0, 1)


def _blurred(image: Tensor) -> Tensor:
    padded = functional.pad(image, (3, 3, 3, 3), mode="replicate")
    return functional.avg_pool2d(padded, 7, stride=1)
