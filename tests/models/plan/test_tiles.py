"""Tiles: the encoder's are exact, Feature2Image's leave no join that one could see."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.cells import features_of, pixels_of
from kintsugi.models.networks.feature2image import Feature2Image
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor
from kintsugi.models.plan.tiles import TRANSLATOR_OVERLAP, encode_tiled, translate_tiled
from tests.models.match.test_patch_swap import mask_of
from tests.models.plan.test_fill_plan import photo

SHARED = Path(os.environ.get("KINTSUGI_SHARED", Path(__file__).parents[4] / "shared"))
# As a share of the largest feature: float32's rounding over the sums of five layers.
ROUNDING = 5e-6


def assert_equal_to_rounding(features: Tensor, expected: Tensor) -> None:
    assert features.shape == expected.shape
    assert (features - expected).abs().max() <= ROUNDING * expected.abs().max()


@pytest.mark.parametrize(
    ("size", "tile"),
    [((64, 64), 64), ((64, 200), 64), ((132, 100), 32), ((36, 60), 12)],
)
def test_encoder_tiles_are_the_whole(encoder: Vgg19Relu3, size: tuple[int, int], tile: int) -> None:
    image = photo(*size)
    assert_equal_to_rounding(encode_tiled(encoder, image, tile=tile), encoder(image))


def test_encoder_tiles_of_a_batch(encoder: Vgg19Relu3) -> None:
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert_equal_to_rounding(encode_tiled(encoder, image, tile=32), encoder(image))


def test_a_halo_of_less_than_the_encoder_sees_would_show(
    encoder: Vgg19Relu3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kintsugi.models.plan.tiles.ENCODER_HALO", 8)
    image = photo(64, 128)
    with pytest.raises(AssertionError):
        assert_equal_to_rounding(encode_tiled(encoder, image, tile=64), encoder(image))


def test_encoder_never_sees_more_than_a_tile_and_its_halo(encoder: Vgg19Relu3) -> None:
    seen = []
    hook = encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    encode_tiled(encoder, photo(260, 132), tile=64)
    hook.remove()
    assert len(seen) == 5 * 3
    assert max(max(shape) for shape in seen) <= 64 + 2 * 12


@pytest.mark.parametrize(("size", "tile"), [((64, 64), 30), ((64, 64), 0), ((66, 200), 64)])
def test_encoder_refuses_what_does_not_divide(
    encoder: Vgg19Relu3, size: tuple[int, int], tile: int
) -> None:
    with pytest.raises(ValueError, match="multiple"):
        encode_tiled(encoder, photo(*size), tile=tile)


@pytest.fixture(scope="module")
def features(inpainter: Inpainter) -> Tensor:
    with torch.inference_mode():
        return encode_tiled(inpainter.image2feature.encoder, photo(4 * 100, 4 * 150))


@pytest.fixture(scope="module")
def untiled(inpainter: Inpainter, features: Tensor) -> Tensor:
    with torch.inference_mode():
        return inpainter.feature2image(features)


@pytest.fixture(scope="module")
def network(inpainter: Inpainter) -> Feature2Image:
    return inpainter.feature2image


@pytest.mark.parametrize("size", [(64, 64), (50, 64), (3, 20)])
@torch.inference_mode()
@pytest.mark.slow
def test_one_tile_is_the_plain_call(
    network: Feature2Image, features: Tensor, size: tuple[int, int]
) -> None:
    part = features[..., : size[0], : size[1]]
    assert torch.equal(translate_tiled(network, part, tile=64), network(part))


@torch.inference_mode()
@pytest.mark.slow
def test_every_tile_has_one_size_and_all_is_covered(
    network: Feature2Image, features: Tensor
) -> None:
    seen = []
    hook = network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    image = translate_tiled(network, features, tile=64)
    hook.remove()
    # 100 rows and 150 columns in steps of 32: three tiles and four.
    assert seen == [(64, 64)] * 12
    assert image.shape == (1, 3, 400, 600)
    # The networks answer between 0 and 1, and a blend does where its weights add up to 1.
    assert 0.2 < image.min() <= image.max() <= 1


@torch.inference_mode()
def test_a_side_shorter_than_a_tile_stays_whole(network: Feature2Image, features: Tensor) -> None:
    strip = features[..., :20, :]
    image = translate_tiled(network, strip, tile=64)
    assert image.shape == (1, 3, 80, 600)
    assert torch.equal(image[..., :128], network(strip[..., :64])[..., :128])


@torch.inference_mode()
def test_weights_of_what_is_blended_add_up(features: Tensor) -> None:
    # A network that answers a constant: wherever tiles overlap the blend is that constant.
    class Constant(Feature2Image):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def forward(self, features: Tensor) -> Tensor:
            height, width = features.shape[-2:]
            return torch.full((1, 3, 4 * height, 4 * width), 0.3)

    image = translate_tiled(Constant(), features, tile=64)
    torch.testing.assert_close(image, torch.full_like(image, 0.3))


@pytest.mark.parametrize(
    "box", [(0, 30, 0, 30), (200, 240, 300, 310), (390, 400, 0, 600), (0, 400, 0, 600)]
)
@torch.inference_mode()
@pytest.mark.slow
def test_only_tiles_with_needed_pixels_are_translated(
    network: Feature2Image, features: Tensor, untiled: Tensor, box: tuple[int, int, int, int]
) -> None:
    needed = mask_of(400, 600, box)
    calls = []
    hook = network.register_forward_pre_hook(lambda *_: calls.append(1))
    image = translate_tiled(network, features, tile=64, needed=needed)
    hook.remove()
    assert len(calls) == {30: 1, 240: 4, 400: 4 if box[0] else 12}[box[1]]
    inside = needed.expand_as(image) > 0
    assert (image - untiled)[inside].abs().mean() < 0.02
    # Nothing needed lies at the cut edge of what was translated.
    assert (image[inside] > 0).all()


@torch.inference_mode()
def test_a_tile_is_no_larger_than_what_is_needed(network: Feature2Image, features: Tensor) -> None:
    seen = []
    hook = network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    translate_tiled(network, features, tile=128, needed=mask_of(400, 600, (0, 100, 0, 360)))
    hook.remove()
    # 25 rows and a margin of 32 make 57; 90 columns and a margin on one side 122.
    assert seen == [(64, 128)]


def test_nothing_needed_is_nothing_translated(network: Feature2Image, features: Tensor) -> None:
    image = translate_tiled(network, features, tile=64, needed=torch.zeros(1, 1, 400, 600))
    assert not image.any()


@pytest.mark.parametrize("tile", [0, 32, 100])
def test_refuses_other_tiles(network: Feature2Image, features: Tensor, tile: int) -> None:
    with pytest.raises(ValueError, match=f"tile={tile}: choose a multiple of 64"):
        translate_tiled(network, features, tile=tile)


@torch.inference_mode()
@pytest.mark.slow
def test_no_join_shows_in_a_photograph(inpainter: Inpainter) -> None:
    photos = sorted((SHARED / "photos" / "train").glob("bsds-*.jpg"))
    weights = SHARED / "weights" / "vgg19_relu3_1.safetensors"
    if not photos or not weights.is_file():
        pytest.skip(f"{SHARED} holds no photographs or no weights: set KINTSUGI_SHARED")
    encoder = Vgg19Relu3.from_file(weights)
    with Image.open(photos[0]) as opened:
        picture = np.array(opened.convert("RGB").resize((384, 384)))
    coded = encode_tiled(encoder, image_to_tensor(picture))
    network = inpainter.feature2image
    tiled, whole = translate_tiled(network, coded, tile=64), network(coded)
    # 96 cells in steps of 32 from 0 to 32: the tiles begin and end at every 32nd cell.
    joins = torch.arange(32, 96, 32) * 4
    for axis in (2, 3):
        steps, as_whole = (
            image.diff(dim=axis).abs().mean(dim=(0, 1, 5 - axis)) for image in (tiled, whole)
        )
        elsewhere = torch.ones(len(steps), dtype=torch.bool)
        elsewhere[joins - 1] = False
        # A photograph's own edges lie where they do: those of the untiled image are taken off.
        here = steps[joins - 1].mean() / as_whole[joins - 1].mean()
        assert here <= 1.1 * steps[elsewhere].mean() / as_whole[elsewhere].mean()


def test_the_overlap_fits_the_smallest_tile() -> None:
    assert TRANSLATOR_OVERLAP < 64


@pytest.mark.parametrize("side", [64, 96])
def test_pixels_stand_behind_the_features_whatever_the_tiles(side: int) -> None:
    encoder, image = Vgg19Relu3.random(0), torch.rand(1, 3, side, 64)
    cells = encode_tiled(encoder, image, tile=64, behind=image)
    assert torch.equal(features_of(cells), encode_tiled(encoder, image, tile=64))
    assert torch.equal(pixels_of(cells), image)
