"""The nodes that compute, without a cluster: what one hands on is what the next one needs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.graph import Encoded, Feature2ImageNode, PatchSwapNode
from deploy.settings import AppArgs
from models import matching
from models.build import ModelConfig
from models.inpainter import Inpainter
from models.matching import MatchingConfig
from models.weights import ReleaseConfig, save_release


@pytest.fixture
def args(inpainter: Inpainter, tmp_path: Path) -> AppArgs:
    config = ReleaseConfig(
        name="tiny",
        model=ModelConfig("tiny"),
        encoder="random (seed 0)",
        matching=MatchingConfig(method="approximate"),
    )
    save_release(tmp_path, inpainter, config, card="")
    return AppArgs(release=str(tmp_path), threads=torch.get_num_threads())


def test_the_indices_of_a_scale_start_the_next_ones_search(args: AppArgs) -> None:
    generator = torch.Generator().manual_seed(0)
    small, large = (torch.rand(1, 256, side, side, generator=generator) for side in (16, 32))
    mask = np.zeros((1, 1, 128, 128), np.bool_)
    mask[..., 40:90, 40:90] = True
    matcher, translator = PatchSwapNode(args), Feature2ImageNode(args)

    swapped = matcher.swap(Encoded(small.numpy(), None), mask[..., ::2, ::2], None, 0)
    translated = translator.translate(swapped, None)

    assert swapped.indices is not None
    assert translated.indices is swapped.indices
    assert translated.image.shape == (1, 3, 64, 64)
    started, fresh = (
        matcher.swap(Encoded(large.numpy(), None), mask, previous, 0).indices
        for previous in (translated.indices, None)
    )
    assert started is not None
    assert not np.array_equal(started, fresh)
    expected = matching.match(
        MatchingConfig(method="approximate"),
        matching.Encoded(large, None),
        torch.tensor(mask, dtype=torch.float32),
        previous=torch.tensor(swapped.indices),
        seed=0,
    )
    np.testing.assert_array_equal(started, expected.indices.numpy())
