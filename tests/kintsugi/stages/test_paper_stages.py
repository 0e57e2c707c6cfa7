"""The stages compute the paper's losses on the paper's pairs."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import LossSection, TranslateSection
from kintsugi.data.batches import Batch
from kintsugi.models.build import build_generator, build_translator
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.losses import (
    AdversarialLoss,
    discriminator_adversarial,
    generator_adversarial,
    gradient_l1,
    hole_weights,
)
from kintsugi.models.match.patch_swap import patch_swap
from kintsugi.models.matching import MatchingConfig, match
from kintsugi.models.networks.image2feature import Image2Feature
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.stages.end_to_end import EndToEnd
from kintsugi.stages.stage1 import Stage1
from kintsugi.stages.stage2 import Stage2, prediction_share
from tests.kintsugi.training_runs import debug_config, setup_of


class Recorder(nn.Module):
    """A discriminator that remembers what it was shown and answers with a set logit."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, condition: Tensor, image: Tensor) -> Tensor:
        self.seen.append((condition, image))
        return torch.full((len(image), 1, 2, 2), self.logit)


@pytest.fixture
def config(tmp_path: Path) -> JobConfig:
    return debug_config(tmp_path)


@pytest.fixture(scope="module")
def encoder() -> Vgg19Relu3:
    return Vgg19Relu3.random(0)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 16:32, 20:40] = 1
    mask[1, :, 0:24, 44:64] = 1
    image = torch.rand(2, 3, 64, 64, generator=generator)
    return Batch(torch.arange(2), image, mask, torch.tensor([0.1, 0.9]))


def test_stage_1_keeps_known_pixels_and_judges_pairs_with_the_incomplete_image(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    stage = Stage1(setup_of(config, encoder))
    output = stage.generate(stage.generator, batch, 0)
    known = 1 - batch.mask
    assert torch.equal(output.image * known, batch.image * known)
    assert not torch.equal(output.image, batch.image)
    judge = Recorder(0.0)
    stage.discriminator_losses(output, judge)
    ((condition, image),) = judge.seen
    assert torch.equal(condition, torch.cat([batch.image * known] * 2))
    assert torch.equal(image, torch.cat([batch.image, output.image]))
    assert not image.requires_grad


def test_stage_1_weighs_features_of_the_hole_and_its_band(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    stage = Stage1(setup_of(config, encoder))
    output = stage.generate(stage.generator, batch, 0)
    losses = stage.generator_losses(output, Recorder(0.0))
    difference = (encoder(output.image) - encoder(batch.image)).abs()
    weights = hole_weights(batch.mask, 16, 16, overlap_cells=2, overlap_weight=10.0)
    each = (weights * difference).sum((1, 2, 3)) / (256 * weights.sum((1, 2, 3)))
    expected = 10 * each.mean()
    assert torch.allclose(losses["perceptual"], expected)
    assert set(weights.unique().tolist()) == {0.0, 1.0, 10.0}


def test_pixels_count_in_the_hole_for_stage_1_and_everywhere_for_stage_2(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    weighted = dataclasses.replace(config, losses=LossSection(pixels=3.0))
    for stage in (Stage1(setup_of(weighted, encoder)), Stage2(setup_of(weighted, encoder))):
        output = stage.generate(stage.generator, batch, 0)
        loss = stage.generator_losses(output, Recorder(0.0))["pixels"]
        difference = (output.image - batch.image).abs()
        if isinstance(stage, Stage1):
            of_each = difference.sum((1, 2, 3)) / (3 * batch.mask.sum((1, 2, 3)))
            expected = 3 * of_each.mean()
        else:
            expected = 3 * difference.mean()
        assert torch.allclose(loss, expected)


def test_losses_carry_their_weights_and_the_log_form(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    weighted = dataclasses.replace(
        config, losses=dataclasses.replace(config.losses, perceptual=0.0, adversarial=3.0)
    )
    stage = Stage1(setup_of(weighted, encoder))
    output = stage.generate(stage.generator, batch, 0)
    losses = stage.generator_losses(output, Recorder(0.7))
    assert losses["perceptual"].item() == 0
    expected = -3 * F.logsigmoid(torch.tensor(0.7))
    assert torch.allclose(losses["adversarial"], expected)
    judged = stage.discriminator_losses(output, Recorder(0.7))["discriminator"]
    logit = torch.tensor(0.7)
    assert torch.allclose(judged, -F.logsigmoid(logit) - F.logsigmoid(-logit))


def test_stage_2_sees_swapped_features_of_the_truth_and_judges_them_with_images(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    stage = Stage2(setup_of(config, encoder))
    output = stage.generate(stage.generator, batch, 0)
    assert torch.equal(output.condition, patch_swap(encoder(batch.image), batch.mask))
    judge = Recorder(0.0)
    losses = stage.generator_losses(output, judge)
    difference = encoder(output.image) - encoder(batch.image)
    assert torch.allclose(losses["perceptual"], 10 * difference.square().mean())
    assert torch.equal(judge.seen[0][0], torch.cat([output.condition] * 2))
    assert judge.seen[0][1].requires_grad


def test_both_steps_show_the_discriminator_the_same_batch(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    stage = Stage1(setup_of(config, encoder))
    output = stage.generate(stage.generator, batch, 0)
    judge = Recorder(0.0)
    stage.generator_losses(output, judge)
    stage.discriminator_losses(output, judge)
    for one, other in zip(*judge.seen, strict=True):
        assert torch.equal(one, other)


def test_stage_2_mixes_predictions_into_the_samples_that_the_draw_says(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    translate = dataclasses.replace(config.translate, stage1="a run", prediction_share=0.5)
    mixed = dataclasses.replace(config, translate=translate)
    generator = build_generator(config.model, seed=3)
    stage = Stage2(setup_of(mixed, encoder, generator))
    output = stage.generate(stage.generator, batch, 0)
    truth = patch_swap(encoder(batch.image), batch.mask)
    coarse = Stage1(setup_of(config, encoder)).generate(generator.eval(), batch, 0).image
    predicted = patch_swap(encoder(coarse), batch.mask)
    assert torch.allclose(output.condition[0], predicted[0], atol=1e-4)
    assert torch.equal(output.condition[1], truth[1])
    assert not torch.allclose(truth[0], predicted[0], atol=1e-2)
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_stage_2_matches_by_the_keys_that_the_configuration_names(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    translate = dataclasses.replace(
        config.translate, stage1="a run", prediction_share=1.0, keys="matched-standardised", guard=1
    )
    generator = build_generator(config.model, seed=3)
    stage = Stage2(setup_of(dataclasses.replace(config, translate=translate), encoder, generator))
    output = stage.generate(stage.generator, batch, 0)
    image2feature = Image2Feature(generator, encoder).eval()
    matching = MatchingConfig("matched-standardised", guard=1)
    inpainter = Inpainter(image2feature, build_translator(config.model, seed=0), matching)
    with torch.no_grad():
        wanted = inpainter.match(inpainter.infer(batch.image, batch.mask), batch.mask).features
        plain = match(MatchingConfig(guard=1), inpainter.infer(batch.image, batch.mask), batch.mask)
    assert torch.allclose(output.condition, wanted, atol=1e-4)
    assert not torch.allclose(wanted, plain.features, atol=1e-2)


def test_stage_2_mixes_predictions_in_after_the_truth_and_then_more_and_more() -> None:
    settings = TranslateSection(stage1="a run", prediction_share=0.5, truth_steps=10, ramp_steps=4)
    shares = [prediction_share(settings, step) for step in (0, 9, 10, 11, 13, 14, 99)]
    assert shares == [0, 0, 0.125, 0.25, 0.5, 0.5, 0.5]
    at_once = TranslateSection(stage1="a run", prediction_share=0.5)
    assert prediction_share(at_once, 0) == 0.5


@pytest.mark.slow
def test_end_to_end_trains_both_networks_on_their_own_predictions(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    stage = EndToEnd(setup_of(config, encoder))
    output = stage.generate(stage.generator, batch, 0)
    coarse = Stage1(setup_of(config, encoder)).generate(stage.generator.infer, batch, 0).image
    assert output.coarse is not None
    assert torch.equal(output.coarse * (1 - batch.mask), batch.image * (1 - batch.mask))
    torch.testing.assert_close(output.condition, patch_swap(encoder(coarse), batch.mask))
    losses = stage.generator_losses(output, Recorder(0.0))
    assert set(losses) == {"perceptual", "adversarial", "coarse"}
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in stage.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert not any(name.startswith("encoder") for name in stage.generator.state_dict())


def test_a_loss_of_images_counts_by_its_weight(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch
) -> None:
    weighted = dataclasses.replace(config, losses=LossSection(image={"gradients": 2.0}))
    stage = Stage1(setup_of(weighted, encoder))
    output = stage.generate(stage.generator, batch, 0)
    found = stage.generator_losses(output, Recorder(0.0))["gradients"]
    assert found == 2.0 * gradient_l1(output.image, output.target, output.mask)


@pytest.mark.parametrize("kind", ["lsgan", "hinge"])
def test_losses_take_the_form_that_the_configuration_names(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch, kind: AdversarialLoss
) -> None:
    weighted = dataclasses.replace(config, losses=LossSection(adversarial=1.0, kind=kind))
    stage = Stage1(setup_of(weighted, encoder))
    output = stage.generate(stage.generator, batch, 0)
    logits = torch.full((2, 1, 2, 2), 0.7)
    losses = stage.generator_losses(output, Recorder(0.7))
    assert losses["adversarial"] == generator_adversarial(logits, kind)
    assert losses["adversarial"] != generator_adversarial(logits, "log")
    judged = stage.discriminator_losses(output, Recorder(0.7))
    assert judged["discriminator"] == discriminator_adversarial(logits, logits, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Stage1, EndToEnd])
def test_under_autocast_what_a_stage_gives_is_float32_and_near(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch, kind: type[Stage1] | type[EndToEnd]
) -> None:
    stage = kind(setup_of(config, encoder))
    exact = stage.generate(stage.generator, batch, 0)
    losses = stage.generator_losses(exact, stage.discriminator)
    with torch.autocast("cpu", torch.bfloat16):
        output = stage.generate(stage.generator, batch, 0)
        coarse_losses = stage.generator_losses(output, stage.discriminator)
    assert output.image.dtype == output.condition.dtype == torch.float32
    assert not torch.equal(output.image, exact.image)
    for name, loss in coarse_losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, losses[name], rtol=0.05, atol=0.01)
