"""VGG19 up to relu3_1: the feature space in which everything is matched; frozen."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

# ImageNet's statistics in RGB 0-1, as torchvision's weights expect them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FEATURE_CHANNELS = 256
FEATURE_STRIDE = 4
# Channels of relu1_1, relu2_1 and relu3_1, and where they come out.
PYRAMID_CHANNELS = (64, 128, FEATURE_CHANNELS)
_PYRAMID_LAYERS = (1, 6, 11)


class Vgg19Relu3(nn.Module):
    """The first 12 layers of VGG19: RGB 0-1 to relu3_1, zero padded as torchvision pads.

    Parameter names are torchvision's (``features.0.weight`` ... ``features.10.bias``),
    so its weights, or any file of that naming, load unchanged. Source: paper section
    3.2, feature encoder; the normalisation is torchvision's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(128, FEATURE_CHANNELS, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 256 H/4 W/4"]:
        """Args: ``image``: RGB 0-1, both sides multiples of 4. Raises: ValueError otherwise."""
        height, width = image.shape[-2:]
        if height % FEATURE_STRIDE or width % FEATURE_STRIDE:
            raise ValueError(
                f"image is {width}x{height}: pad both sides to multiples of {FEATURE_STRIDE}"
            )
        # Half as fast again in this layout; what follows shall not depend on it.
        normalised = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.features(normalised).contiguous()
        return out

    def pyramid(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """relu1_1, relu2_1 and relu3_1 of an image in one pass.

        Args:
            image: RGB 0-1, both sides multiples of 4.

        Returns: B 64 H W, B 128 H/2 W/2 and B 256 H/4 W/4, in the precision of the context.
        """
        x = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in _PYRAMID_LAYERS:
                maps.append(x)
        first, second, third = maps
        return first, second, third

    def train(self, mode: bool = True) -> "Vgg19Relu3":
        """Stays in evaluation mode: the encoder is frozen whatever surrounds it trains."""
        return super().train(False)

    @classmethod
    def random(cls, seed: int) -> "Vgg19Relu3":
        """Seeded random weights (He): for tests and demonstrations, always named as such."""
        encoder = cls()
        generator = torch.Generator().manual_seed(seed)
        for layer in encoder.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        return encoder

    @classmethod
    def from_file(cls, path: Path) -> "Vgg19Relu3":
        """Read a safetensors file with torchvision's names; further layers in it are ignored.

        Raises: ValueError naming the file when a layer is missing or of another shape.
        """
        return cls._from_state(load_file(path), str(path))

    @classmethod
    def from_torchvision(cls) -> "Vgg19Relu3":
        """ImageNet weights through torchvision, which downloads 548 MB on first use."""
        from torchvision.models import VGG19_Weights, vgg19

        state: dict[str, Tensor] = vgg19(weights=VGG19_Weights.IMAGENET1K_V1).state_dict()
        return cls._from_state(state, "torchvision's vgg19")

    @classmethod
    def _from_state(cls, state: dict[str, Tensor], source: str) -> "Vgg19Relu3":
        encoder = cls()
        needed = encoder.state_dict()
        for name, tensor in needed.items():
            if name not in state or state[name].shape != tensor.shape:
                found = tuple(state[name].shape) if name in state else "nothing"
                raise ValueError(
                    f"{source}: expected {name} of shape {tuple(tensor.shape)}, found {found};"
                    " an encoder file holds VGG19's layers to conv3_1 under torchvision's names"
                )
        encoder.load_state_dict({name: state[name] for name in needed})
        return encoder
