"""The initial fill that points: what it copies, when it agrees, and that it learns."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.build import ModelConfig, build_initial_fill
from kintsugi.models.networks.initial_fill import FILL_STRIDE, shrunk
from kintsugi.models.networks.pointer_fill import CELL, PointerFillPredictor
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pointer_loss import pointer_loss

TINY = ModelConfig("tiny", initial_fill="pointer")


def a_network(seed: int = 0) -> PointerFillPredictor:
    network = build_initial_fill(TINY, seed=seed)
    assert isinstance(network, PointerFillPredictor)
    return network


def a_batch(height: int, width: int) -> tuple[Tensor, Tensor]:
    image, mask = torch.rand(2, 3, height, width), torch.zeros(2, 1, height, width)
    mask[0, :, 12:30, 9:30], mask[1, :, :, 20:] = 1, 1
    return image, mask


@pytest.mark.parametrize(("height", "width"), [(72, 104), (32, 32), (40, 136)])
def test_it_copies_known_cells_at_any_size_the_same_each_time(height: int, width: int) -> None:
    image, mask = a_batch(height, width)
    network = a_network().eval()
    fill = network(image, mask).image
    assert fill.shape == (2, 3, height // FILL_STRIDE, width // FILL_STRIDE)
    assert torch.equal(fill, network(image.where(mask == 0, torch.nan), mask).image)
    assert torch.equal(fill[:1], network(image[:1], mask[:1]).image)
    small, share = shrunk(image, mask), F.avg_pool2d(mask, FILL_STRIDE)
    hole = F.max_pool2d(share, CELL).flatten(1) > 0
    filled, cells = (F.pixel_unshuffle(each, CELL).flatten(2).mT for each in (fill, small))
    for index in range(2):
        torch.testing.assert_close(filled[index][~hole[index]], cells[index][~hole[index]])
        apart = torch.cdist(filled[index][hole[index]], cells[index][~hole[index]])
        assert apart.min(1).values.max() < 1e-2, "a copy of one of them"
    whole = network.fill(image, mask)
    assert torch.equal(whole[mask.expand_as(whole) == 0], image[mask.expand_as(image) == 0])


def test_where_all_or_nothing_is_known_it_is_the_smooth_fill() -> None:
    image = torch.rand(2, 3, 32, 32)
    mask = torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32)])
    torch.testing.assert_close(a_network()(image, mask).image, shrunk(image, mask))


def test_far_cells_are_less_likely_at_first() -> None:
    network, (image, mask) = a_network().train(), a_batch(128, 128)
    torch.nn.init.zeros_(network.end.weight)
    _, hole, known, logits = network(image, mask).pointers[0]
    width = 128 // FILL_STRIDE // CELL
    rows = (hole // width)[:, None] - (known // width)[None]
    columns = (hole % width)[:, None] - (known % width)[None]
    distance = (rows.square() + columns.square()).float().sqrt()
    torch.testing.assert_close(logits, -distance / 6, atol=1e-4, rtol=1e-4)


def test_longer_queries_and_keys_change_nothing() -> None:
    """Else likelihood rewards them, and the network's activations grow without limit."""
    network, (image, mask) = a_network().train(), a_batch(64, 64)
    before = network(image, mask).pointers[0].logits
    with torch.no_grad():
        network.end.weight *= 1000
        network.end.bias *= 1000
    torch.testing.assert_close(
        network(image, mask).pointers[0].logits, before, atol=1e-3, rtol=1e-3
    )


def test_pointers_are_of_each_image_in_evaluation_too() -> None:
    assert len(a_network().eval()(*a_batch(64, 64)).pointers) == 2


def test_the_loss_is_least_where_it_points_at_what_was_there(encoder: Vgg19Relu3) -> None:
    """Two materials, the hole in one of them."""
    target = torch.rand(1, 3, 32, 32) * 0.1
    target[..., 16:] += 0.8
    network = a_network().eval()
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 40:80, 80:120] = 1
    (pointers,) = network(F.interpolate(target, scale_factor=4), mask).pointers
    _, _, known, logits = pointers
    right = (known % 16 >= 8).expand_as(logits)
    maps = encoder.pyramid(target)[1:]

    def loss(preferred: Tensor) -> float:
        chosen = torch.where(preferred, 0.0, -20.0)
        return pointer_loss([pointers._replace(logits=chosen)], target, maps).item()

    undecided = pointer_loss([pointers._replace(logits=torch.zeros_like(logits))], target, maps)
    assert loss(right) < undecided.item() < loss(~right)


def test_an_image_without_known_cells_is_no_others(encoder: Vgg19Relu3) -> None:
    """A hole of thin lines leaves no cell wholly known; the next image has pointers of its own."""
    image, mask = a_batch(64, 64)
    mask[0, :, ::4] = 1
    target, network = F.avg_pool2d(image, FILL_STRIDE), a_network().train()

    def loss(images: slice, truth: Tensor) -> Tensor:
        pointers = network(image[images], mask[images]).pointers
        return pointer_loss(pointers, truth[images], encoder.pyramid(truth[images])[1:])

    assert [each.image for each in network(image, mask).pointers] == [1]
    both, second = loss(slice(2), target), loss(slice(1, 2), target)
    torch.testing.assert_close(both, second / 2)
    assert torch.equal(loss(slice(2), torch.stack([target[1], target[1]])), both)
    assert loss(slice(1), target) == 0
    network(image[:1], mask[:1]).image.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_it_learns_which_place_to_copy(encoder: Vgg19Relu3) -> None:
    """Below a light half a dark one: what the hole's lower cells need is below."""
    image = torch.full((4, 3, 128, 128), 0.85)
    image[:, :, 64:] = 0.15
    image += 0.05 * torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(4, 1, 128, 128)
    mask[..., 16:112, 16:112] = 1
    network = a_network().train()
    adam = torch.optim.Adam(network.parameters(), 2e-3)
    target = F.avg_pool2d(image, FILL_STRIDE)
    maps = encoder.pyramid(target)[1:]
    for _ in range(25):
        pointers = network(image, mask).pointers
        adam.zero_grad()
        pointer_loss(pointers, target, maps).backward()  # type: ignore[no-untyped-call]
        adam.step()
    assert all(parameter.grad is not None for parameter in network.parameters())
    fill = network.eval()(image, mask).image
    wrong = (fill - target).abs().mean(1) > 0.3
    assert wrong.float().mean() < 0.02
    # Sharp: nothing between the two.
    assert ((fill > 0.3) & (fill < 0.7)).float().mean() < 0.01
