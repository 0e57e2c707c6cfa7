"""The paper's method read from one file equals `Inpainter` at the paper's defaults."""

import pytest
import torch

from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.match.patch_swap import match_patches
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.paper import Networks, infer, inpaint, inpaint_one_scale, patch_swap
from kintsugi.models.plan.fill_plan import FillOptions, plan_fill
from tests.models.match.test_patch_swap import features_of, mask_of
from tests.models.plan.test_fill_plan import photo

# The paper moves no colours and grows no mask.
PAPER = {"align_colour": False}


@pytest.fixture(scope="module")
def paper(encoder: Vgg19Relu3) -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), encoder, seed=3)


def networks_of(inpainter: Inpainter) -> Networks:
    infer = inpainter.image2feature
    return Networks(infer.generator, infer.encoder, inpainter.feature2image)


@pytest.mark.parametrize(
    ("size", "box", "scales"),
    [
        ((96, 64), (20, 60, 16, 40), 1),
        ((128, 192), (40, 90, 60, 130), 2),
        ((256, 256), (101, 160, 77, 150), 3),
        ((128, 128), (0, 50, 70, 128), 2),
    ],
)
def test_it_equals_the_inpainter(
    paper: Inpainter, size: tuple[int, int], box: tuple[int, int, int, int], scales: int
) -> None:
    image, mask = photo(*size), mask_of(*size, box)
    options = FillOptions(scales=scales, **PAPER)
    (crop,) = plan_fill(image, mask, options).crops
    assert len(crop.sizes) == scales
    expected = paper.inpaint(image, mask, options)
    filled = inpaint(networks_of(paper), image, mask, crop.sizes)
    torch.testing.assert_close(filled, expected, atol=1e-4, rtol=0)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    # Not merely: nothing was drawn.
    assert (filled - image)[~known].abs().mean() > 0.05


def test_one_scale_is_the_forward_pass(paper: Inpainter) -> None:
    image, mask = photo(96, 64), mask_of(96, 64, (20, 60, 16, 40))
    networks = networks_of(paper)
    with torch.inference_mode():
        assert torch.equal(
            infer(networks.generator, image, mask), paper.image2feature.fill(image, mask)
        )
        whole = inpaint_one_scale(networks, image, mask)
        torch.testing.assert_close(whole, paper(image, mask), atol=1e-4, rtol=0)


def test_the_matches_are_those_of_the_exact_search() -> None:
    features, mask = features_of(2, 1, 24, 14, 18), mask_of(56, 72, (12, 33, 20, 47))
    assert torch.equal(patch_swap(features, mask).indices, match_patches(features, mask))


def test_a_fill_of_no_scale_is_refused(paper: Inpainter) -> None:
    image, mask = photo(64, 64), mask_of(64, 64, (20, 40, 16, 40))
    with pytest.raises(ValueError, match="sizes is empty"):
        inpaint(networks_of(paper), image, mask, [])
