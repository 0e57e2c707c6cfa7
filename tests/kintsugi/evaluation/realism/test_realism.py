"""Realism of fills whose order every eye knows, and what decides its figures."""

import numpy as np
import pytest
import torch

from kintsugi.evaluation.realism.cells import from_bytes
from kintsugi.evaluation.realism.pooling import Realism
from kintsugi.evaluation.realism.realism import (
    CellEncoder,
    HoleSampler,
    hole_figures,
    measure_realism,
)
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor
from tests.kintsugi.evaluation.known_fills import known_fills


@pytest.fixture(scope="module")
def judged() -> dict[str, Realism]:
    known = known_fills()
    encoder = CellEncoder(Vgg19Relu3.random(0))
    return {
        name: measure_realism(known.originals, fills, known.masks, encoder)
        for name, fills in known.fills.items()
    }


@pytest.mark.parametrize("layer", ["relu2_1", "relu3_1"])
def test_original_before_copy_before_blur(judged: dict[str, Realism], layer: str) -> None:
    original, copy, blurred = (judged[name].layers[layer] for name in judged)
    # A fill that is the original is as far from it as two draws of the originals are.
    assert original.distance == original.floor == copy.floor
    assert 1.3 * original.distance < copy.distance < blurred.distance / 3
    intervals = [(each.kid_low or 0, each.kid_high or 0) for each in (original, copy, blurred)]
    assert intervals[0][0] < 0 < intervals[0][1] < intervals[1][0]
    assert intervals[1][1] < intervals[2][0]
    assert original.kid == original.kid_floor
    errors = [each.error or 0 for each in (original, copy, blurred)]
    assert errors[0] > 0.45 > errors[1] > 0.3 > 0.1 > errors[2]
    assert (blurred.photographs, blurred.cells) == (10, 480)


def test_the_seam_and_the_detail(judged: dict[str, Realism]) -> None:
    original, copy, blurred = judged.values()
    assert (original.outline_step.median, original.laplacian.median) == (1, 1)
    assert copy.laplacian.median == pytest.approx(1, abs=0.1)
    assert blurred.laplacian.high < 0.1
    assert original.outline_step.median < copy.outline_step.median


def test_the_seed_and_the_ids_decide_everything() -> None:
    known = known_fills(count=4)
    encoder = CellEncoder(Vgg19Relu3.random(0))
    given = (known.originals, known.fills["copy"], known.masks, encoder)
    first = measure_realism(*given, ids=["a", "b", "c", "d"], seed=1)
    assert measure_realism(*given, ids=["a", "b", "c", "d"], seed=1) == first
    assert measure_realism(*given, ids=["a", "b", "c", "d"], seed=2) != first
    assert measure_realism(*given, ids=["a", "b", "c", "e"], seed=1) != first
    # In another order the same photographs are judged alike.
    turned = [each[::-1] for each in given[:3]]
    again = measure_realism(*turned, encoder, ids=["d", "c", "b", "a"], seed=1)
    for name, layer in again.layers.items():
        assert layer.distance == pytest.approx(first.layers[name].distance)
        assert layer.kid == pytest.approx(first.layers[name].kid)
        assert layer.error == first.layers[name].error


def test_batches_are_photographs() -> None:
    known = known_fills(count=4)
    encoder = CellEncoder(Vgg19Relu3.random(0))
    lists = known.originals, known.fills["copy"], known.masks
    single = measure_realism(*lists, encoder)
    batched = measure_realism(*([torch.cat(each)] for each in lists), encoder)
    assert batched == single


def test_what_a_fill_does_outside_the_hole_does_not_count() -> None:
    known = known_fills(count=3)
    encoder = CellEncoder(Vgg19Relu3.random(0))
    marked = [torch.where(known.masks[0] > 0, fill, 0.0) for fill in known.fills["copy"]]
    first, second = (
        measure_realism(known.originals, fills, known.masks, encoder)
        for fills in (known.fills["copy"], marked)
    )
    assert first == second


def test_photographs_sampled_apart_are_judged_as_together() -> None:
    known = known_fills(count=1)
    encoder = Vgg19Relu3.random(0)
    truth, answer = (
        (each[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        for each in (known.originals[0], known.fills["copy"][0])
    )
    mask = known.masks[0][0, 0].numpy() > 0
    sampler = HoleSampler(encoder, seed=3)
    first, second = sampler.original(truth, mask, "set/a")
    fill = sampler.fill(truth, answer, mask, "set/a")
    tensors = [[image_to_tensor(each)] for each in (truth, answer)]
    together = measure_realism(*tensors, [mask_to_tensor(mask)], encoder, ids=["set/a"], seed=3)
    assert together.layers["relu3_1"].cells == len(from_bytes(first)["relu3_1"])
    assert sampler.fill(truth, truth, mask, "set/a") == second
    assert sampler.fill(truth, answer, mask, "set/b") != fill
    assert HoleSampler(encoder, seed=4).fill(truth, answer, mask, "set/a") != fill
    figures = hole_figures(truth, answer, mask)
    assert figures["outline_step"] == together.outline_step.median
    assert figures["laplacian"] == together.laplacian.median


def test_one_photograph_has_distances_and_no_interval() -> None:
    known = known_fills(count=1)
    found = measure_realism(
        known.originals, known.originals, known.masks, Vgg19Relu3.random(0)
    ).layers["relu2_1"]
    assert (found.kid, found.error, found.photographs) == (None, None, 1)
    assert found.distance >= 0


def test_thin_holes_have_no_cells() -> None:
    known = known_fills(count=3)
    thin = torch.zeros(1, 1, 96, 96)
    thin[..., 40, 10:80] = 1
    found = measure_realism(
        known.originals, known.fills["blurred"], [thin] * 3, Vgg19Relu3.random(0)
    )
    assert found.layers == {}
    assert found.laplacian.median < 1


def test_what_does_not_fit_is_refused() -> None:
    known = known_fills(count=2)
    encoder = CellEncoder(Vgg19Relu3.random(0))
    with pytest.raises(ValueError, match="2 originals, 1 fills and 2 masks"):
        measure_realism(known.originals, known.originals[:1], known.masks, encoder)
    with pytest.raises(ValueError, match="do not fit"):
        measure_realism(known.originals, known.masks, known.masks, encoder)
    with pytest.raises(ValueError, match="3 ids for 2 photographs"):
        measure_realism(known.originals, known.originals, known.masks, encoder, ids=["a", "b", "c"])
    empty = [torch.zeros(1, 1, 96, 96)] * 2
    with pytest.raises(ValueError, match="no hole"):
        measure_realism(known.originals, known.originals, empty, encoder)
    with pytest.raises(ValueError, match="no photographs"):
        measure_realism([], [], [], encoder)
