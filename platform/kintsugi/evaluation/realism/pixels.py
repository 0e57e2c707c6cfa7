"""What an eye finds at once in a fill: a seam, and detail that is missing; knows no networks.

All take 1 3 H W, RGB 0-1, and a mask 1 1 H W with 1 = hole (0.5 and more).
"""

import torch
from torch import Tensor
from torch.nn import functional

# Added to both sides of a ratio: one grey level of 8 bit, below which nothing can be seen.
_GREY_LEVEL = 1 / 255


def outline_step(original: Tensor, fill: Tensor, mask: Tensor) -> float:
    """The step across the hole's outline against the original's: 1 = as large, more = a seam.

    Mean absolute difference over the channels and all pairs of neighbours (4) with one in the hole
    and one known; one grey level added to both sides of the ratio.

    Args: 1 3 H W, RGB 0-1; mask 1 1 H W, 1 = hole. Raises: ValueError: no hole or nothing known.
    """
    hole = hole_of(mask)
    steps = [_mean_step(image, hole) for image in (compose(original, fill, mask), original)]
    return (steps[0] + _GREY_LEVEL) / (steps[1] + _GREY_LEVEL)


def laplacian_energy(original: Tensor, fill: Tensor, mask: Tensor) -> float:
    """Energy of fine detail in the hole against the original's: 1 = as much, less = fog.

    Mean squared Laplacian (4 neighbours, edges repeated) over pixels whose neighbours are in
    the hole as well, so that a seam is not taken for detail; over the whole hole where it is too
    thin to have any. One squared grey level is added to both sides of the ratio.

    Args: 1 3 H W, RGB 0-1; mask 1 1 H W, 1 = hole. Raises: ValueError when there is no hole.
    """
    hole = hole_of(mask)
    beyond = functional.pad((~hole).float()[None, None], (1, 1, 1, 1), mode="replicate")
    near = functional.max_pool2d(beyond, 3, stride=1)[0, 0] > 0
    inside = hole & ~near
    where = inside if bool(inside.any()) else hole
    images = compose(original, fill, mask), original
    energies = [float(_laplacian(image)[:, where].square().mean()) for image in images]
    return (energies[0] + _GREY_LEVEL**2) / (energies[1] + _GREY_LEVEL**2)


def compose(original: Tensor, fill: Tensor, mask: Tensor) -> Tensor:
    """The fill in the hole and the original around it. Raises: ValueError: there is no hole."""
    return torch.where(hole_of(mask).to(original.device), fill.to(original.device), original)


def hole_of(mask: Tensor) -> Tensor:
    """H W bool. Raises: ValueError when nothing is hole."""
    hole = mask[0, 0] >= 0.5
    if not bool(hole.any()):
        raise ValueError("the mask has no hole (no value of 0.5 or more): nothing to judge")
    return hole


def _mean_step(image: Tensor, hole: Tensor) -> float:
    pixels = image[0]
    across, down = hole[:, 1:] != hole[:, :-1], hole[1:] != hole[:-1]
    steps = torch.cat(
        [
            (pixels[:, :, 1:] - pixels[:, :, :-1]).abs()[:, across].flatten(),
            (pixels[:, 1:] - pixels[:, :-1]).abs()[:, down].flatten(),
        ]
    )
    if not len(steps):
        raise ValueError("the mask leaves nothing known: a fill has no outline there")
    return float(steps.mean())


def _laplacian(image: Tensor) -> Tensor:
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")[0]
    neighbours = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    neighbours = neighbours + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return neighbours - 4 * padded[:, 1:-1, 1:-1]
