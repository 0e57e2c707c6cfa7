"""Networks in half precision: the same answer to what the format holds, as float32."""

import pytest
import torch

from kintsugi.models.inpainter import Inpainter
from kintsugi.models.plan.tiles import encode_tiled, translate_tiled
from kintsugi.models.precision import Precision, autocast


def test_float32_changes_nothing(inpainter: Inpainter) -> None:
    network, features = inpainter.feature2image, torch.rand(1, 256, 16, 16)
    with torch.inference_mode():
        plain = network(features)
        with autocast("cpu", "float32"):
            assert torch.equal(network(features), plain)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_computes_in_it_and_answers_in_float32(
    inpainter: Inpainter, precision: Precision
) -> None:
    encoder, network = inpainter.image2feature.encoder, inpainter.feature2image
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1)) > 0.7).float()
    with torch.inference_mode():
        features = encoder(image)
        with autocast(torch.device("cpu"), precision):
            # The format is really used: convolutions answer in it.
            assert encoder(image).dtype == getattr(torch, precision)
            coded = encode_tiled(encoder, image)
            drawn = translate_tiled(network, features)
            coarse = inpainter.image2feature.generator(image, mask)
        assert coded.dtype == drawn.dtype == torch.float32
        assert not torch.equal(coded, features)
        # 2^-8 is one step of bfloat16; errors of five layers add up.
        torch.testing.assert_close(coded, features, rtol=0.05, atol=0.02 * features.max().item())
        assert (drawn - network(features)).abs().max() < 1 / 64
        exact = inpainter.image2feature.generator(image, mask)
        assert (coarse - exact).abs().max() < 1 / 32
