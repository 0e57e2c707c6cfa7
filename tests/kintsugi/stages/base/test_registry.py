"""Stages are found by their files, and declare what is asked of them."""

import pytest
import torch

from kintsugi.errors import ConfigError
from kintsugi.models.build import ModelConfig
from kintsugi.stages.base.names import stage_names
from kintsugi.stages.base.registry import builders, discriminator_parts, stage_spec


def test_each_file_is_a_stage() -> None:
    names = stage_names()
    assert names == ("context_encoder", "end_to_end", "initial_fill", "stage1", "stage2")
    assert stage_spec("end_to_end").generator.keys() == {"infer", "translate"}


def test_an_unknown_stage_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="stage='stage3': choose one of context_encoder, "):
        stage_spec("stage3")


def test_every_part_can_be_built() -> None:
    built = {name: build(ModelConfig(size="tiny"), seed=0) for name, build in builders().items()}
    assert set(discriminator_parts()) < built.keys()
    assert all(isinstance(network, torch.nn.Module) for network in built.values())
