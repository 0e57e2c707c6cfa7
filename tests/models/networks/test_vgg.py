"""The encoder: torchvision's layers and names, frozen, and what its files must hold."""

import copy
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms.functional import normalize, to_tensor

from kintsugi.models.networks.vgg import Vgg19Relu3

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("KINTSUGI_SHARED", ROOT.parent / "shared"))
WEIGHTS = SHARED / "weights" / "vgg19_relu3_1.safetensors"


def torchvision_features(encoder: Vgg19Relu3, image: torch.Tensor) -> torch.Tensor:
    """The same weights in torchvision's own layers, with torchvision's own preparation."""
    network = nn.Sequential(*make_layers(cfgs["E"][:7])[:12]).to(encoder.mean.dtype)
    state = encoder.features.state_dict()
    network.load_state_dict(state)
    preset = VGG19_Weights.IMAGENET1K_V1.transforms()
    features: torch.Tensor = network(normalize(image, preset.mean, preset.std))
    return features


def test_equals_torchvision_layers(encoder: Vgg19Relu3, generator: torch.Generator) -> None:
    # In float64, but for its mean and deviation: how the two would round in float32 depends on
    # memory layout and processor.
    encoder = copy.deepcopy(encoder).double()
    image = torch.rand(2, 3, 40, 64, generator=generator, dtype=torch.float64)
    features = encoder(image)
    assert features.shape == (2, 256, 10, 16)
    expected = torchvision_features(encoder, image)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=2e-6)


def test_555328_parameters(encoder: Vgg19Relu3) -> None:
    assert sum(p.numel() for p in encoder.parameters()) == 555_328


@pytest.mark.slow
def test_the_published_weights(generator: torch.Generator) -> None:
    if not WEIGHTS.is_file():
        pytest.skip(f"{WEIGHTS} is not there: set KINTSUGI_SHARED")
    encoder = Vgg19Relu3.from_file(WEIGHTS)
    photos = sorted((SHARED / "photos" / "train").glob("bsds-*.jpg"))[:8]
    if not photos:
        pytest.skip(f"{SHARED} holds no photographs: set KINTSUGI_SHARED")
    means = []
    for path in photos:
        image = to_tensor(Image.open(path).convert("RGB").resize((160, 160)))[None]
        features = encoder(image)
        means.append(features.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(features, torchvision_features(encoder, image), rtol=1e-4, atol=1e-4)
    # The published network is scaled to a mean activation of about 1 a channel. Another
    # order of colours, range or normalisation would move most channels far off.
    channels = torch.stack(means).mean(0)
    assert channels.mean().item() == pytest.approx(1, abs=0.25)
    assert ((channels > 0.4) & (channels < 2.5)).float().mean() > 0.95


def test_a_file_with_torchvisions_names_loads(encoder: Vgg19Relu3, tmp_path: Path) -> None:
    # A file may hold the rest of VGG19 too.
    save_file({**encoder.state_dict(), "classifier.6.bias": torch.zeros(3)}, tmp_path / "vgg")
    loaded = Vgg19Relu3.from_file(tmp_path / "vgg")
    assert set(loaded.state_dict()) == {
        f"features.{layer}.{kind}" for layer in (0, 2, 5, 7, 10) for kind in ("weight", "bias")
    }
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_refuses_a_file_that_lacks_a_layer(encoder: Vgg19Relu3, tmp_path: Path) -> None:
    state = encoder.state_dict()
    missing = {name: tensor for name, tensor in state.items() if name != "features.7.bias"}
    save_file(missing, tmp_path / "cut")
    with pytest.raises(ValueError, match=r"cut: expected features\.7\.bias .* found nothing"):
        Vgg19Relu3.from_file(tmp_path / "cut")
    other = {**state, "features.5.weight": torch.zeros(128, 64, 1, 1)}
    save_file(other, tmp_path / "other")
    with pytest.raises(ValueError, match=r"features\.5\.weight .*\(128, 64, 1, 1\)"):
        Vgg19Relu3.from_file(tmp_path / "other")


def test_stays_frozen_in_a_network_that_trains(encoder: Vgg19Relu3) -> None:
    surrounding = nn.Sequential(Vgg19Relu3.random(0), nn.Conv2d(256, 1, 1)).train()
    assert surrounding.training
    assert not surrounding[0].training
    assert not any(p.requires_grad for p in surrounding[0].parameters())


def test_gradients_pass_through_to_the_image(encoder: Vgg19Relu3) -> None:
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    encoder(image).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().min() > 0


def test_random_weights_are_seeded(encoder: Vgg19Relu3) -> None:
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(Vgg19Relu3.random(0)(image), encoder(image))
    assert not torch.equal(Vgg19Relu3.random(1)(image), encoder(image))


def test_refuses_sides_that_do_not_divide_by_4(encoder: Vgg19Relu3) -> None:
    with pytest.raises(ValueError, match=r"30x32.*multiples of 4"):
        encoder(torch.zeros(1, 3, 32, 30))
