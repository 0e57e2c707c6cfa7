"""A predicted fill begins as the smooth one, keeps what is known, and adds what it has learnt."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.build import ModelConfig, build_generator, build_initial_fill
from kintsugi.models.networks.initial_fill import (
    FILL_STRIDE,
    FINE_PIXELS,
    FINE_STRIDE,
    FillNetwork,
    shrunk,
)
from kintsugi.models.networks.smooth_fill import smooth_fill

TINY = ModelConfig("tiny", generator_input="predicted")


def predictor(added: float = 0.0) -> FillNetwork:
    """One that adds the same to every colour."""
    network = build_initial_fill(TINY, seed=0).eval()
    torch.nn.init.constant_(network.end.bias, added)
    return network


def a_batch_with_holes(height: int = 72, width: int = 104) -> tuple[Tensor, Tensor]:
    image, mask = torch.rand(2, 3, height, width), torch.zeros(2, 1, height, width)
    mask[0, :, 10:26, 9:30], mask[1, :, :, 20:] = 1, 1
    return image, mask


# The lowest level of the second has one cell alone.
@pytest.mark.parametrize(("height", "width"), [(72, 104), (32, 32)])
def test_untrained_it_is_the_smooth_fill(height: int, width: int) -> None:
    image, mask = a_batch_with_holes(height, width)
    network = predictor()
    assert torch.equal(network.fill(image, mask), smooth_fill(image, mask))
    assert torch.equal(network(image, mask), shrunk(image, mask))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.7])
def test_what_the_hole_holds_is_not_looked_at(value: float) -> None:
    image, mask = a_batch_with_holes()
    network = predictor(0.1)
    torch.nn.init.normal_(network.end.weight, 0, 0.1)
    other = image.where(mask == 0, value)
    assert torch.equal(network(other, mask), network(image, mask))
    assert torch.equal(network.fill(other, mask), network.fill(image, mask))


def test_what_it_predicts_is_added_in_the_hole_alone_and_stays_a_colour() -> None:
    image, mask = a_batch_with_holes()
    for added in (0.2, -0.3):
        fill = predictor(added).fill(image, mask)
        expected = torch.where(mask == 0, image, (smooth_fill(image, mask) + added).clamp(0, 1))
        torch.testing.assert_close(fill, expected)
        assert torch.equal(fill[(mask == 0).expand_as(fill)], image[(mask == 0).expand_as(image)])


def test_near_the_edge_the_fine_fill_counts_and_deep_inside_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, image = predictor(), torch.full((1, 3, 160, 160), 0.5)
    mask = torch.zeros(1, 1, 160, 160)
    mask[..., 32:, 32:] = 1

    def added(smooth: Tensor, share: Tensor) -> Tensor:
        return torch.full_like(smooth, 0.1 if smooth.shape[-1] == 160 // FINE_STRIDE else 0.3)

    monkeypatch.setattr(network, "_correction", added)
    more = network.fill(image, mask)[0, 0] - 0.5
    assert (more[mask[0, 0] == 0] == 0).all()
    row = more[-1, 32:]
    torch.testing.assert_close(row[FINE_PIXELS:], torch.full_like(row[FINE_PIXELS:], 0.3))
    assert 0.1 < row[0] < 0.12
    assert (row[1:FINE_PIXELS] > row[: FINE_PIXELS - 1]).all()


def test_of_what_is_shrunk_only_known_colours_count() -> None:
    image, mask = torch.full((1, 3, 32, 32), 0.25), torch.zeros(1, 1, 32, 32)
    mask[..., 10:20, 10:20] = 1
    torch.testing.assert_close(shrunk(image.where(mask == 0, 0.9), mask), image[..., :8, :8])


def test_it_learns_what_a_smooth_fill_cannot_know() -> None:
    """Holes that are always dark in light pictures."""
    light, mask = torch.full((4, 3, 64, 64), 0.8), torch.zeros(4, 1, 64, 64)
    mask[..., 16:48, 24:40] = 1
    truth = torch.where(mask == 1, 0.2, light)
    network = build_initial_fill(TINY, seed=0)
    adam = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(60):
        # At both sizes that it fills: near the edge it sees half as far.
        seen, hole = (F.interpolate(each, scale_factor=1 + step % 2) for each in (truth, mask))
        error = F.l1_loss(network(seen, hole), F.avg_pool2d(seen, FILL_STRIDE))
        adam.zero_grad()
        error.backward()
        adam.step()
    hole = mask.expand_as(truth) == 1
    before, after = smooth_fill(truth, mask)[hole], network.eval().fill(truth, mask)[hole]
    assert (after - 0.2).abs().mean() < 0.3 * (before - 0.2).abs().mean()


def test_g1_adds_to_it_and_teaches_it_nothing() -> None:
    image, mask = a_batch_with_holes()
    generator = build_generator(TINY, seed=0).eval()
    assert generator.initial_fill is not None
    torch.nn.init.constant_(generator.initial_fill.end.bias, 0.1)
    answer = generator(image, mask)
    assert torch.equal(answer, generator.initial_fill.fill(image, mask))
    answer.sum().backward()
    assert not any(parameter.requires_grad for parameter in generator.initial_fill.parameters())
    assert generator.up[-1].get_parameter("conv.weight").grad is not None
