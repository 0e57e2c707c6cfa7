"""Convolution, residual and up-sampling blocks that the networks are built of."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

Upsampling = Literal["resize", "transposed"]
# Which of a residual block's two convolutions are dilated.
DilatedConvolutions = Literal["first", "both"]

# Standard deviation of the initial weights, as in pix2pix and its descendants.
INIT_STD = 0.02
# Power iterations after which a random vector is near a weight's first singular one.
_POWER_ITERATIONS = 15


class ConvBlock(nn.Sequential):
    """Convolution, batch norm (unless ``norm=False``), activation (unless None)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int,
        norm: bool = True,
        activation: nn.Module | None = None,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(
                in_channels, out_channels, kernel, stride, padding=(kernel - 1) // 2, bias=not norm
            )
        ]
        if norm:
            layers.append(nn.BatchNorm2d(out_channels))
        if activation is not None:
            layers.append(activation)
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip, dilated by 2 (paper section 3.2).

    The paper does not say whether both are: with ``dilated`` "first" only the first is.
    """

    def __init__(
        self, channels: int, *, dilation: int = 2, dilated: DilatedConvolutions = "first"
    ) -> None:
        super().__init__()
        second = dilation if dilated == "both" else 1
        self.body = nn.Sequential(
            nn.ReflectionPad2d(dilation),
            nn.Conv2d(channels, channels, 3, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(second),
            nn.Conv2d(channels, channels, 3, dilation=second, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        out: Tensor = x + self.body(x)
        return out


class UpBlock(nn.Module):
    """Doubles the resolution, or meets a given size, and convolves.

    ``resize`` is nearest-neighbour followed by a 3x3 convolution, which leaves no
    checkerboard; ``transposed`` is the 4x4 stride-2 form of the paper's text.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        upsampling: Upsampling,
        norm: bool = True,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv: nn.Module
        if upsampling == "resize":
            self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not norm)
        elif upsampling == "transposed":
            self.conv = nn.ConvTranspose2d(
                in_channels, out_channels, 4, stride=2, padding=1, bias=not norm
            )
        else:
            raise ValueError(f"upsampling={upsampling!r}: choose 'resize' or 'transposed'")
        self.resizes = upsampling == "resize"
        self.after = nn.Sequential(
            *([nn.BatchNorm2d(out_channels)] if norm else []),
            *([activation] if activation is not None else []),
        )

    def forward(
        self, x: Float[Tensor, "B C h w"], size: Sequence[int] | None = None
    ) -> Float[Tensor, "B D H W"]:
        """Args: ``size``: output (height, width), at most twice the input's; None doubles."""
        height, width = size if size is not None else (2 * x.shape[-2], 2 * x.shape[-1])
        if self.resizes:
            x = self.conv(F.interpolate(x, size=(height, width), mode="nearest"))
        else:
            x = self.conv(x)[..., :height, :width]
        out: Tensor = self.after(x)
        return out


def normalise_spectrally(module: nn.Module) -> None:
    """Divide the weights of every convolution by their largest singular value.

    Miyato et al. 2018. Each forward pass in training refines the estimate of that value by
    one power iteration. The state then holds the undivided weights and two vectors each.
    """
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            spectral_norm(layer)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every convolution's weights from N(0, 0.02); biases 0, norms the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            _initialise_weight(layer, generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
            layer.reset_running_stats()


def _initialise_weight(layer: nn.Conv2d | nn.ConvTranspose2d, generator: torch.Generator) -> None:
    if not parametrize.is_parametrized(layer, "weight"):
        nn.init.normal_(layer.weight, 0.0, INIT_STD, generator=generator)
        return
    # Under a spectral norm `layer.weight` is only the quotient.
    divided = layer.get_submodule("parametrizations.weight")
    assert isinstance(divided, parametrize.ParametrizationList)
    nn.init.normal_(divided.original, 0.0, INIT_STD, generator=generator)
    # The norm drew its vectors from the global generator, and for other weights.
    for vector in divided.buffers():
        vector.normal_(generator=generator)
    for _ in range(_POWER_ITERATIONS):
        divided()
