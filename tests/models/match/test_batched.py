"""The search of whole batches: the answers of the search of one map, in few operations."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from kintsugi.masks.generators import draw_mask
from kintsugi.models.match import batched
from kintsugi.models.match.batched import fits, nearest_of_batch, paste_batch, plan_batch
from kintsugi.models.match.keys import blur_batch, blur_known, standardise
from kintsugi.models.match.patch_swap import hole_of, match_patches, paste_patches
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import load_encoder
from tests.counted_operations import CountedOperations

SHARED = Path(os.environ.get("KINTSUGI_SHARED", Path(__file__).parents[4] / "shared"))
BUNDLED = Path(__file__).parents[3] / "models/pretrained/small"


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(seed: int) -> Tensor:
    return F.interpolate(drawn(seed, 4, 16, 5, 6), (20, 24), mode="bilinear").relu()


def spoilt() -> Tensor:
    keys = drawn(3, 4, 16, 20, 24)
    keys[0, 3, 2, 2] = torch.nan
    keys[1, :, 5:9, 4] = torch.inf
    keys[2, 0] = -torch.inf
    return keys


KEYS: dict[str, Callable[[], Tensor]] = {
    "noise": lambda: drawn(0, 4, 16, 20, 24),
    "smooth": lambda: smooth(1),
    "periodic": lambda: drawn(2, 4, 16, 4, 4).repeat(1, 1, 5, 6),
    "negative": lambda: -smooth(4) - 1,
    "constant": lambda: torch.ones(4, 16, 20, 24),
    "zero": lambda: torch.zeros(4, 16, 20, 24),
    "half zero": lambda: smooth(5) * (torch.arange(24) < 12),
    "two pixels of black": lambda: smooth(6).clamp_min(0.3) - 0.3,
    "not finite": spoilt,
    "half precision": lambda: drawn(7, 4, 16, 20, 24).half(),
}


def masks() -> Tensor:
    """A small hole, a large one, all but a corner, and all."""
    mask = torch.zeros(4, 1, 80, 96)
    mask[0, :, 20:40, 30:50] = mask[1, :, 10:70, 10:80] = 1
    mask[2] = mask[3] = 1
    mask[2, :, :24, :28] = 0
    return mask


@pytest.mark.parametrize("guard", [0, 1, 3])
@pytest.mark.parametrize("name", KEYS)
def test_the_winners_are_those_of_one_map_after_another(name: str, guard: int) -> None:
    keys, mask = KEYS[name](), masks()
    found = nearest_of_batch(keys, plan_batch(hole_of(mask, keys), guard))
    assert torch.equal(found, match_patches(keys, mask, guard=guard))


@pytest.mark.parametrize("seed", range(6))
def test_they_are_for_drawn_holes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(np.stack([draw_mask(k, 64, 72, rng) for k in ("thin", "blob")]))
    keys = drawn(seed, 2, 8, 16, 18).round() if seed % 2 else drawn(seed, 2, 8, 16, 18)
    plan = plan_batch(hole_of(mask[:, None], keys), seed % 3)
    assert torch.equal(
        nearest_of_batch(keys, plan), match_patches(keys, mask[:, None], guard=seed % 3)
    )


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    files = sorted((SHARED / "photos/train").glob("*.jpg"))[:200:50]
    if not files:
        pytest.skip(f"no photographs in {SHARED}")
    crops = [np.asarray(Image.open(file).convert("RGB"))[:128, :128] for file in files]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def test_they_are_for_photographs(photographs: Tensor) -> None:
    """Saturated parts among them: many windows of such are equal."""
    photographs[0, :, :60, :80] = 1
    mask = torch.zeros(4, 1, 128, 128)
    mask[:, :, 40:90, 30:100] = 1
    encoder: Vgg19Relu3 = load_encoder(str(BUNDLED))
    with torch.no_grad():
        features = encoder(photographs * (1 - mask) + 0.5 * mask)
    for keys in (features, standardise(features, mask)):
        plan = plan_batch(hole_of(mask, keys), 3)
        found = nearest_of_batch(keys, plan)
        assert torch.equal(found, match_patches(keys, mask, guard=3))
        torch.testing.assert_close(
            paste_batch(features, found, plan), paste_patches(features, found, mask)
        )


@pytest.mark.parametrize("items", [1, 2, 3])
def test_what_has_no_room_is_searched_in_parts(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, mask = KEYS["periodic"](), masks()
    plan = plan_batch(hole_of(mask, keys), 1)
    budget = items * batched._bytes_of_item(16, 480, 4)
    assert torch.equal(nearest_of_batch(keys, plan, budget=budget), nearest_of_batch(keys, plan))
    assert fits(256, 64, 64)
    assert not fits(256, 512, 512)


def test_copies_are_averaged_and_known_cells_stay() -> None:
    features, mask = drawn(0, 4, 12, 20, 24).requires_grad_(), masks()
    plan = plan_batch(hole_of(mask, features), 0)
    found = nearest_of_batch(features, plan)
    pasted, expected = (paste_batch(features, found, plan), paste_patches(features, found, mask))
    torch.testing.assert_close(pasted, expected)
    known = ~plan.hole[:, None].expand_as(features)
    assert torch.equal(pasted[known], features[known])
    slopes = [torch.autograd.grad(each.square().sum(), features)[0] for each in (pasted, expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(("guard", "most"), [(0, 100), (3, 105)])
def test_a_hundred_operations_and_one_look_whatever_the_batch(
    batch: int, guard: int, most: int
) -> None:
    """With the guard, whose distances are looked at one after the other, a few more."""
    # Here and there a few candidates contend.
    keys = drawn(0, batch, 16, 20, 24)
    keys[:, :, :, 12:] = keys[:, :, :, :12]
    mask = masks()[:1].expand(batch, -1, -1, -1)
    with CountedOperations() as counted:
        plan = plan_batch(hole_of(mask, keys), guard)
        found = nearest_of_batch(keys, plan)
        paste_batch(keys, found, plan)
    assert "scatter_reduce" in counted.launched, "some are decided by float64"
    assert counted.operations <= most, counted.launched
    # On a processor a list is read without an operation: the host looks once.
    assert counted.looked == 0, counted.looks


def test_a_batch_is_blurred_as_each_photograph_is(photographs: Tensor) -> None:
    mask = torch.zeros(4, 1, 128, 128)
    mask[:, :, 40:90, 30:100] = 1
    mask[3] = 0
    mask[3, :, 5:9, 5:9] = 1
    filled = photographs.clone()
    for item, reach in enumerate((0, 3, 9, 31)):
        around = F.pad(photographs[item : item + 1], (reach // 2,) * 4, mode="replicate")
        soft = F.avg_pool2d(around, reach, 1) if reach else photographs[item : item + 1]
        filled[item] = torch.where(mask[item] > 0, soft[0], filled[item])
    expected = blur_known(filled, mask)
    with CountedOperations() as counted:
        blurred = blur_batch(filled, mask)
    torch.testing.assert_close(blurred, expected, atol=2e-6, rtol=0)
    assert len({round(float((blurred[i] - filled[i]).abs().amax()), 4) for i in range(3)}) == 3
    assert torch.equal(blurred[0], filled[0]), "what is as sharp stays"
    assert counted.operations <= 100, counted.launched
    assert counted.looked == 0
