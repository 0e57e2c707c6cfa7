"""The context encoder's stage: what it reconstructs, where it counts more, what is judged."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kintsugi.data.batches import Batch
from kintsugi.errors import ConfigError
from kintsugi.evaluation import entrants
from kintsugi.evaluation.entrants import open_context_encoder
from kintsugi.models.losses import generator_adversarial
from kintsugi.runs.weights import open_networks
from kintsugi.stages.context_encoder import ContextEncoderStage
from kintsugi.train.worker import build_stage, train_locally
from tests.kintsugi.evaluation.test_entrants import CASE
from tests.kintsugi.training_runs import debug_config, pack_photos


class Recorder(nn.Module):
    """A discriminator that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image)
        return torch.full((len(image), 1, 1, 1), 0.7)


@pytest.fixture
def stage(tmp_path: Path) -> ContextEncoderStage:
    stage = build_stage(debug_config(tmp_path, "context-encoder"))
    assert isinstance(stage, ContextEncoderStage)
    return stage


@pytest.fixture
def batch() -> Batch:
    mask = torch.zeros(2, 1, 128, 128)
    mask[0, :, 40:60, 20:40] = 1
    mask[1, :, 0:24, 44:64] = 1
    image = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    return Batch(torch.arange(2), image, mask, torch.tensor([0.1, 0.9]))


def test_it_reconstructs_the_hole_and_ten_times_the_band_around_it(
    stage: ContextEncoderStage, batch: Batch
) -> None:
    output = stage.generate(stage.generator, batch, 0)
    assert output.coarse is not None
    losses = stage.generator_losses(output, Recorder())
    expected = []
    for image, whole, top, left in zip(batch.image, output.coarse, (40, 0), (20, 44), strict=True):
        height = 20 if top else 24
        weights = torch.zeros(128, 128)
        weights[max(0, top - 8) : top + height + 8, left - 8 : left + 20 + 8] = 10
        weights[top : top + height, left : left + 20] = 1
        squares = (whole - image).square().mean(0)
        expected.append((weights * squares).sum() / weights.sum())
    torch.testing.assert_close(losses["reconstruction"], 0.999 * torch.stack(expected).mean())
    assert losses["adversarial"] == 0.001 * generator_adversarial(torch.tensor([[[[0.7]]]]))


def test_whole_pictures_are_judged_and_known_pixels_stay(
    stage: ContextEncoderStage, batch: Batch
) -> None:
    output = stage.generate(stage.generator, batch, 0)
    known = 1 - batch.mask
    assert torch.equal(output.image * known, batch.image * known)
    judge = Recorder()
    losses = stage.generator_losses(output, judge)
    stage.discriminator_losses(output, judge)
    for seen in judge.seen:
        assert torch.equal(seen, torch.cat([batch.image, output.image]))
    assert (judge.seen[0].requires_grad, judge.seen[1].requires_grad) == (True, False)
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in stage.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.slow
def test_a_run_takes_part_in_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, "context-encoder", max_steps=2)
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, ema_decay=0.5)
    )
    run = train_locally(config)
    entrant, about = open_context_encoder(run.storage.uri)
    filled = entrant.fill(CASE)
    assert (filled[~CASE.mask] == CASE.pixels[~CASE.mask]).all()
    assert filled[CASE.mask].any()
    assert about["name"] == "context encoder tiny, step 2, running mean weights"
    assert about["digest"] == open_networks(run.storage.uri).digest()
    other = dataclasses.replace(config, run="other", seed=1)
    assert open_context_encoder(train_locally(other).storage.uri)[0].identity != entrant.identity
    monkeypatch.setattr(entrants, "code_digest", lambda: "other")
    assert open_context_encoder(run.storage.uri)[0].identity != entrant.identity
    wrong = train_locally(debug_config(tmp_path, batch_size=1, max_steps=1))
    with pytest.raises(ConfigError, match=r"holds infer, pair_discriminator: name a run of"):
        open_context_encoder(wrong.storage.uri)
