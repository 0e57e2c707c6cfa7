"""Pictures whose continuation is known, and their blurred guides; knows no network."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# Height and width to 1 3 H W.
Draw = Callable[[int, int], Tensor]


def checker(height: int, width: int, *, period: int = 8) -> Tensor:
    """1 3 H W, RGB 0-1: repeats every ``period`` pixels along both axes."""
    row, column = _places(height, width)
    a, b = ((place // (period // 2)) % 2 for place in (row, column))
    return torch.stack([0.2 + 0.6 * a, 0.3 + 0.4 * a * b, 0.5 + 0.3 * b])[None]


def stripes(height: int, width: int, *, period: int = 8) -> Tensor:
    """Diagonal ones with soft edges."""
    row, column = _places(height, width)
    wave = 0.5 + 0.4 * torch.sin((row + column) * (2 * torch.pi / period))
    return torch.stack([wave, 0.5 * wave + 0.2, 1 - wave])[None]


def waves(height: int, width: int) -> Tensor:
    """No two patches are alike, and all are smooth."""
    row, column = _places(height, width)
    red = 0.5 + 0.4 * torch.sin(row / 7 + (column / 23) ** 2)
    green = 0.5 + 0.4 * torch.sin(column / 5 + (row / 31) ** 2)
    return torch.stack([red, green, (red * green).sqrt()])[None]


def noise(height: int, width: int, *, seed: int = 0) -> Tensor:
    """Grain of about two pixels."""
    generator = torch.Generator().manual_seed(seed)
    grain = F.avg_pool2d(torch.rand(1, 3, height + 1, width + 1, generator=generator), 2, 1)
    return grain.clamp(0, 1)


def clouds(height: int, width: int, *, seed: int = 0) -> Tensor:
    """Soft spots of about three pixels."""
    generator = torch.Generator().manual_seed(seed)
    spots = torch.randn(1, 3, height // 3, width // 3, generator=generator)
    return (0.5 + 0.2 * F.interpolate(spots, (height, width), mode="bicubic")).clamp(0, 1)


def guided(image: Tensor, mask: Tensor, *, side: int = 17) -> Tensor:
    """The image, in its hole blurred: what a network that knows colours alone would draw."""
    around = F.pad(image, (side // 2,) * 4, mode="reflect")
    return torch.where(mask > 0, F.avg_pool2d(around, side, 1), image)


def off_by(image: Tensor, other: Tensor, mask: Tensor) -> float:
    """Mean absolute difference in the hole."""
    return float((image - other).abs()[mask.expand_as(image) > 0].mean())


def _places(height: int, width: int) -> tuple[Tensor, Tensor]:
    rows, columns = torch.arange(height).float(), torch.arange(width).float()
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return row, column
