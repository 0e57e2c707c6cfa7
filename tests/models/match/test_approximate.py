"""The approximate search against the exact one, and how its matches go from scale to scale."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

from kintsugi.models.match import approximate, tree
from kintsugi.models.match.approximate import (
    mean_similarity,
    nearest_approximate,
    random_matches,
    upsample_matches,
)
from kintsugi.models.match.exact import nearest_exact
from kintsugi.models.match.windows import Search, candidate_windows, windows_touching
from kintsugi.models.networks.vgg import Vgg19Relu3

Box = tuple[int, int, int, int]
SHARED = Path(os.environ.get("KINTSUGI_SHARED", Path(__file__).parents[3] / "shared"))
WEIGHTS = SHARED / "weights" / "vgg19_relu3_1.safetensors"


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(seed: int, channels: int, height: int, width: int) -> Tensor:
    """Keys as alike in a neighbourhood as features are."""
    coarse = noise(seed, 1, channels, height // 4 + 2, width // 4 + 2)
    return F.interpolate(coarse, size=(height, width), mode="bicubic")[0]


def hole_search(keys: Tensor, *boxes: Box) -> Search:
    """A map searched for its own holes (top, bottom, left, right in cells)."""
    hole = torch.zeros(keys.shape[1:], dtype=torch.bool)
    for top, bottom, left, right in boxes:
        hole[top:bottom, left:right] = True
    return Search(keys, keys, windows_touching(hole), candidate_windows(hole, 0))


def everywhere(query_keys: Tensor, candidate_keys: Tensor) -> Search:
    """Every window of one map searched for in all of another."""
    grids = [torch.ones(k.shape[1] - 2, k.shape[2] - 2) > 0 for k in (query_keys, candidate_keys)]
    return Search(query_keys, candidate_keys, *grids)


def closeness(search: Search, indices: Tensor) -> float:
    """1 for the exact search's matches, 0 for random ones."""
    exact = mean_similarity(search, nearest_exact(search))
    floor = mean_similarity(search, random_matches(search, 1))
    return (mean_similarity(search, indices) - floor) / (exact - floor)


def assert_valid(search: Search, indices: Tensor) -> None:
    """Every query has a candidate, nothing else has anything."""
    assert indices.dtype == torch.int64
    assert torch.equal(indices >= 0, search.queries)
    assert bool(search.candidates.flatten()[indices[search.queries]].all())


HOLES: dict[str, tuple[tuple[int, int], list[Box]]] = {
    "centre": ((48, 48), [(12, 36, 12, 36)]),
    "several": ((50, 60), [(4, 14, 5, 20), (30, 45, 8, 20), (10, 30, 40, 50)]),
    "at the border": ((48, 40), [(0, 20, 20, 40)]),
    "whole side": ((40, 64), [(0, 40, 30, 64)]),
    "few scattered candidates": ((48, 48), [(0, 48, 4, 44), (6, 42, 0, 48)]),
    "three rows": ((3, 200), [(0, 3, 80, 120)]),
    "three columns": ((120, 3), [(40, 60, 1, 2)]),
}


@pytest.mark.parametrize("name", HOLES)
def test_is_close_to_the_exact_search(name: str) -> None:
    (height, width), boxes = HOLES[name]
    search = hole_search(smooth(1, 24, height, width), *boxes)
    found = nearest_approximate(search)
    assert_valid(search, found)
    assert closeness(search, found) >= 0.97


@pytest.fixture(scope="module")
def photo_features() -> Tensor:
    """relu3_1 of a photograph whose middle, half of each side, is blurred as a coarse fill is."""
    photos = sorted((SHARED / "photos" / "train").glob("bsds-*.jpg"))
    if not photos or not WEIGHTS.is_file():
        pytest.skip(f"{SHARED} holds no photographs or no weights: set KINTSUGI_SHARED")
    image = to_tensor(Image.open(photos[0]).convert("RGB").resize((480, 320)))[None]
    small = F.interpolate(image, scale_factor=1 / 8, mode="area")
    blurred = F.interpolate(small, size=(320, 480), mode="bicubic").clamp(0, 1)
    image[..., 80:240, 120:360] = blurred[..., 80:240, 120:360]
    return Vgg19Relu3.from_file(WEIGHTS)(image)[0]


@pytest.mark.parametrize("keys", ["plain", "standardised"])
def test_is_close_on_features_of_a_photograph(keys: str, photo_features: Tensor) -> None:
    features = photo_features
    if keys == "standardised":
        mean = features.mean((1, 2), keepdim=True)
        features = (features - mean) / features.std((1, 2), keepdim=True).clamp_min(1e-5)
    height, width = features.shape[1:]
    box = (height // 4, 3 * height // 4, width // 4, 3 * width // 4)
    search = hole_search(features, box)
    found = nearest_approximate(search)
    assert_valid(search, found)
    assert closeness(search, found) >= 0.97


def test_searches_another_map_of_another_size() -> None:
    search = everywhere(smooth(2, 16, 30, 37), smooth(3, 16, 52, 41))
    found = nearest_approximate(search)
    assert_valid(search, found)
    assert closeness(search, found) >= 0.97


def test_finds_every_window_of_a_part_again() -> None:
    keys = noise(4, 12, 60, 60)
    found = nearest_approximate(everywhere(keys[:, 10:40, 20:50].contiguous(), keys))
    row, column = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    assert torch.equal(found, (row + 10) * 58 + column + 20)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
@pytest.mark.slow
def test_is_exact_where_one_leaf_holds_all_and_sketches_lose_nothing(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(3, 12)), data.draw(st.integers(3, 12))
    seed = data.draw(st.integers(0, 10_000))
    random = torch.Generator().manual_seed(seed)
    # 7 channels make 63 numbers a window: as many as a sketch has.
    keys = torch.randn(data.draw(st.integers(1, 7)), height, width, generator=random)
    queries = torch.rand(height - 2, width - 2, generator=random) < 0.5
    candidates = torch.rand(height - 2, width - 2, generator=random) < 0.5
    queries[0, 0] = candidates[-1, -1] = True
    search = Search(keys, keys, queries, candidates)
    found = nearest_approximate(search)
    assert_valid(search, found)
    exact = mean_similarity(search, nearest_exact(search))
    assert mean_similarity(search, found) == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_features_all_match_something(value: float) -> None:
    search = hole_search(torch.full((8, 40, 40), value), (10, 30, 10, 30))
    found = nearest_approximate(search)
    assert_valid(search, found)
    assert mean_similarity(search, found) == pytest.approx(1.0 if value else 0.0)


def test_the_seed_decides_and_nothing_else() -> None:
    search = hole_search(noise(5, 16, 60, 60), (15, 45, 15, 45))
    before = torch.get_rng_state()
    first = nearest_approximate(search, seed=3)
    torch.manual_seed(99)
    assert torch.equal(nearest_approximate(search, seed=3), first)
    assert not torch.equal(nearest_approximate(search, seed=4), first)
    torch.set_rng_state(before)
    nearest_approximate(search, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("budget", [1, 30_000, 2**30])
def test_the_budget_changes_no_match(budget: int) -> None:
    search = hole_search(smooth(6, 16, 26, 30), (8, 16, 8, 20))
    found = nearest_approximate(search, memory_budget=budget)
    agreed = (found == nearest_approximate(search)).float().mean()
    # Sums of other shapes may round otherwise, which separates equals.
    assert agreed >= 0.99


def test_starts_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    search = hole_search(noise(7, 7, 60, 60), (15, 45, 15, 45))
    exact = nearest_exact(search)
    monkeypatch.setattr(tree, "PROBES", 1)
    monkeypatch.setattr(approximate, "_ROUNDS", 0)
    assert (nearest_approximate(search) == exact)[search.queries].float().mean() < 0.6
    # One cell off: the window around the start is looked through.
    beside = torch.where(exact >= 0, exact + 1, exact)
    found = nearest_approximate(search, init=beside)
    assert (found == exact)[search.queries].float().mean() > 0.98
    unknown = nearest_approximate(search, init=torch.full_like(exact, -1))
    assert torch.equal(unknown, nearest_approximate(search))


def test_a_start_that_is_no_candidate_never_wins() -> None:
    search = hole_search(smooth(8, 12, 50, 50), (10, 40, 10, 40))
    itself = torch.arange(48 * 48).reshape(48, 48)
    found = nearest_approximate(search, init=itself)
    assert_valid(search, found)
    assert closeness(search, found) >= 0.97


def test_neighbours_tell_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = noise(9, 7, 60, 60)
    search = everywhere(keys[:, 10:40, 20:50].contiguous(), keys)
    row, column = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    whole = (row + 10) * 58 + column + 20
    # Every third window knows its match, no other finds any by itself.
    init = torch.where((row % 3 == 1) & (column % 3 == 1), whole, -1)
    monkeypatch.setattr(
        approximate,
        "_alike",
        lambda sketches, *_: approximate._Matches.best_of(
            torch.zeros(len(sketches.queries), 1, dtype=torch.int64),
            torch.full((len(sketches.queries), 1), -1.0),
        ),
    )
    monkeypatch.setattr(approximate, "_ROUNDS", 1)
    found = nearest_approximate(search, init=init)
    assert (found == whole)[:27, :27].all()


def test_more_candidates_than_starts_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    search = hole_search(smooth(10, 24, 64, 64), (16, 48, 16, 48))
    monkeypatch.setattr(approximate, "_MOST_STARTS", int(search.candidates.sum()) // 4)
    found = nearest_approximate(search)
    assert_valid(search, found)
    assert closeness(search, found) >= 0.95


def test_random_matches_are_candidates_and_follow_the_seed() -> None:
    search = hole_search(smooth(11, 6, 30, 30), (10, 20, 10, 20))
    matches = random_matches(search, 5)
    assert_valid(search, matches)
    assert torch.equal(matches, random_matches(search, 5))
    assert not torch.equal(matches, random_matches(search, 6))


def test_no_match_has_no_similarity() -> None:
    search = hole_search(smooth(12, 6, 20, 20), (8, 12, 8, 12))
    with pytest.raises(ValueError, match="no window has a match"):
        mean_similarity(search, torch.full_like(search.queries, -1, dtype=torch.int64))


def test_on_twice_the_size_a_match_is_at_twice_the_place() -> None:
    indices = torch.full((1, 8, 10), -1)
    indices[0, 3, 4] = 6 * 10 + 2
    carried = upsample_matches(indices, (10, 12), (20, 24))
    assert carried.shape == (1, 18, 22)
    assert (carried >= 0).nonzero()[:, 1:].tolist() == [[6, 8], [6, 9], [7, 8], [7, 9]]
    for row in (0, 1):
        for column in (0, 1):
            assert carried[0, 6 + row, 8 + column] == (12 + row) * 22 + 4 + column


def test_of_the_same_size_matches_stay() -> None:
    indices = torch.randint(-1, 80, (2, 8, 10), generator=torch.Generator().manual_seed(1))
    assert torch.equal(upsample_matches(indices, (10, 12), (10, 12)), indices)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sides=st.tuples(*[st.integers(3, 20)] * 4), seed=st.integers(0, 100), batch=st.integers(1, 2)
)
def test_carried_matches_lie_in_the_map(
    sides: tuple[int, int, int, int], seed: int, batch: int
) -> None:
    source, target = sides[:2], sides[2:]
    windows = (source[0] - 2) * (source[1] - 2)
    random = torch.Generator().manual_seed(seed)
    indices = torch.randint(0, windows, (batch, source[0] - 2, source[1] - 2), generator=random)
    carried = upsample_matches(indices, source, target)
    assert carried.shape == (batch, target[0] - 2, target[1] - 2)
    assert carried.min() >= 0
    assert carried.max() < (target[0] - 2) * (target[1] - 2)
    # Each window that matches itself is carried to one that does.
    itself = torch.arange(windows).reshape(1, source[0] - 2, source[1] - 2)
    grid = torch.arange((target[0] - 2) * (target[1] - 2)).reshape(target[0] - 2, -1)
    assert torch.equal(upsample_matches(itself, source, target)[0], grid)


def test_matches_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="8x6 windows but the source has 8x6 cells"):
        upsample_matches(torch.zeros(1, 6, 8, dtype=torch.int64), (6, 8), (12, 16))
    with pytest.raises(ValueError, match="a patch needs 3x3"):
        upsample_matches(torch.zeros(1, 6, 8, dtype=torch.int64), (8, 10), (2, 10))


def test_on_another_size_a_match_is_at_the_first_place_that_stems_from_it() -> None:
    # One and a half times as many cells: windows 0 1 2 3 of the target stem from 0 0 1 2.
    carried = upsample_matches(torch.tensor([[[5], [2], [0], [1], [4], [3]]]), (8, 3), (12, 3))
    assert carried[0, :4, 0].tolist() == [8, 9, 3, 0]


def test_no_window_counts_for_none_whatever_its_score() -> None:
    places, scores = torch.tensor([[-1, 4, 2, 4]]), torch.tensor([[9.0, 1.0, 1.0, 1.0]])
    best = approximate._Matches.best_of(places, scores)
    assert best.places.tolist() == [[2, 4, -1, -1]]


def test_windows_off_the_grid_are_not_found() -> None:
    grid = approximate._Grid.of(torch.ones(2, 3) > 0)
    row, column = torch.tensor([0, -1, 1, 1, 2]), torch.tensor([0, 0, -1, 3, 0])
    assert grid.find(row, column).tolist() == [0, -1, -1, -1, -1]
