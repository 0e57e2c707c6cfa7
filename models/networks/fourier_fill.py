"""A second network for the initial fill: fast Fourier convolutions; knows no other network.

After LaMa (Suvorov et al. 2022, section 2.1), whose blocks are the fast Fourier convolution of
Chi et al. 2020: one part of the channels is convolved locally, the other part in the Fourier
domain, where each layer sees the whole image. This one works on the shrunk image like the U-Net
of `kintsugi.models.networks.initial_fill`, and takes its place with `model.initial_fill = "ffc"`.
Group norm takes the place of batch norm: an image's fill does not depend on its batch.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.networks.initial_fill import FillNetwork

# Residual blocks, and the part of their channels that the Fourier domain has (LaMa: 9 and 0.75).
NUM_BLOCKS = 6
GLOBAL_SHARE = 0.75
_NORM_GROUPS = 4


class FourierFillPredictor(FillNetwork):
    """Two convolutions down, residual blocks of fast Fourier convolutions, up with skips.

    It sees what `FillPredictor` sees: the image with a smooth fill, and how much of each pixel
    is hole, four pixels at a time in as many channels.

    Args:
        width: Channels at an eighth of the image's sides, a multiple of 8; twice as many at a
            sixteenth, where the blocks are.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 2 * width
        self.start = nn.Conv2d(4 * 4, width, 3, padding=1)
        self.down = nn.Conv2d(width, inner, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(_FourierBlock(inner) for _ in range(NUM_BLOCKS)))
        self.up = nn.Conv2d(inner, width, 1)
        self.after = nn.Sequential(
            nn.GroupNorm(_NORM_GROUPS, width), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.end = nn.Conv2d(width, 3 * 4, 3, padding=1)

    def _correction(
        self, smooth: Float[Tensor, "B 3 h w"], share: Float[Tensor, "B 1 h w"]
    ) -> Float[Tensor, "B 3 h w"]:
        x = self.start(F.pixel_unshuffle(torch.cat([2 * smooth - 1, share], 1), 2))
        deep = self.up(self.blocks(self.down(F.gelu(x))))
        # Where a side is odd, the enlarged map has one row more.
        x = x + F.interpolate(deep, size=x.shape[-2:], mode="nearest")
        x = x + self.after(x)
        correction: Tensor = F.pixel_shuffle(self.end(F.gelu(x)), 2)
        return correction.float()


class _FourierBlock(nn.Module):
    """Two fast Fourier convolutions around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _FourierConv(channels)
        self.second = _FourierConv(channels)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.second(self.first(x))
        return added


class _FourierConv(nn.Module):
    """A local and a global part, and convolutions between them (LaMa, figure 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = int(channels * GLOBAL_SHARE)
        self.local = local = channels - wide
        # All 3x3 convolutions in one: from both parts to the local one, from the local one to
        # the global one.
        self.to_local = nn.Conv2d(channels, local, 3, padding=1)
        self.to_wide = nn.Conv2d(local, wide, 3, padding=1)
        self.spectral = _SpectralTransform(wide)
        self.norm = nn.GroupNorm(_NORM_GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        local, wide = x[:, : self.local], x[:, self.local :]
        whole = torch.cat([self.to_local(x), self.to_wide(local) + self.spectral(wide)], 1)
        return F.gelu(self.norm(whole))


class _SpectralTransform(nn.Module):
    """A 1x1 convolution in the Fourier domain between two outside it, at half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.before = nn.Sequential(
            nn.Conv2d(channels, half, 1), nn.GroupNorm(_NORM_GROUPS, half), nn.GELU()
        )
        # Real and imaginary parts are channels of their own.
        self.frequencies = nn.Sequential(
            nn.Conv2d(2 * half, 2 * half, 1), nn.GroupNorm(_NORM_GROUPS, 2 * half), nn.GELU()
        )
        self.after = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        # In float32: transforms know no bfloat16, and sums over an image need more than it has.
        spectrum = torch.fft.rfft2(x.float(), norm="ortho")
        mixed = self.frequencies(torch.cat([spectrum.real, spectrum.imag], 1)).float()
        real, imaginary = mixed.chunk(2, 1)
        back = torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:], norm="ortho")
        out: Tensor = self.after(x + back)
        return out
