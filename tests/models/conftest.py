"""Fixtures for the networks' tests: one random encoder and one tiny inpainter; knows no Ray."""

import pytest
import torch

from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3

TINY = ModelConfig(size="tiny")


@pytest.fixture(scope="session")
def encoder() -> Vgg19Relu3:
    return Vgg19Relu3.random(0)


@pytest.fixture(scope="session")
def inpainter(encoder: Vgg19Relu3) -> Inpainter:
    """Tiny, with seeded weights; tests must not change it."""
    return build_inpainter(TINY, encoder, seed=1)


@pytest.fixture(autouse=True)
def the_same_numbers_each_time() -> None:
    """What a test draws without a generator of its own."""
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
