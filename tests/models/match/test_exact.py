"""The exact search against plain unfolded float32, and what may not change its answer."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import kintsugi.models.match.exact as exact_match
from kintsugi.models.match.exact import nearest_exact
from kintsugi.models.match.keys import standardise
from kintsugi.models.match.scoring.boxes import Box
from kintsugi.models.match.scoring.float64 import nearest_in_float64
from kintsugi.models.match.windows import Search, candidate_windows, windows_touching
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.precision import PRECISIONS, Precision, autocast

SHARED = Path(os.environ.get("KINTSUGI_SHARED", Path(__file__).parents[4] / "shared"))
WEIGHTS = SHARED / "weights/vgg19_relu3_1.safetensors"


def search_of(keys: Tensor, *boxes: tuple[int, int, int, int]) -> Search:
    hole = torch.zeros(keys.shape[1:], dtype=torch.bool)
    for top, bottom, left, right in boxes:
        hole[top:bottom, left:right] = True
    return Search(keys, keys, windows_touching(hole), candidate_windows(hole, 0))


def random_keys(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive_scores(search: Search) -> Tensor:
    """Cosines of all queries with all candidates in float32, by unfolding."""
    queries, candidates = (
        F.normalize(F.unfold(keys[None], 3)[0].T[where.flatten()])
        for keys, where in (
            (search.query_keys, search.queries),
            (search.candidate_keys, search.candidates),
        )
    )
    return queries @ candidates.T


def assert_nearest(search: Search, matches: Tensor) -> None:
    """Every match is a candidate and as good as the best of plain float32, ties aside."""
    assert (matches[~search.queries] == -1).all()
    numbers = torch.full(search.candidates.shape, -1).flatten()
    numbers[search.candidates.flatten()] = torch.arange(int(search.candidates.sum()))
    chosen = numbers[matches[search.queries]]
    assert (chosen >= 0).all()
    scores = naive_scores(search)
    missed = scores.amax(1) - scores.gather(1, chosen[:, None])[:, 0]
    assert missed.max() <= 1e-6
    # Where the best leads clearly, it is the one.
    first, second = scores.topk(2, dim=1).values.unbind(1)
    clear = first - second > 1e-5
    assert torch.equal(chosen[clear], scores.argmax(1)[clear])
    assert clear.float().mean() > 0.9


@pytest.fixture(scope="module")
def real_keys() -> Tensor:
    """Features of a photograph, 256 48 56."""
    if not WEIGHTS.is_file():
        pytest.skip(f"no {WEIGHTS}: set KINTSUGI_SHARED")
    from skimage.data import coffee

    image = torch.from_numpy(coffee()).permute(2, 0, 1)[None].float() / 255
    image = F.interpolate(image, (192, 224), mode="area")
    with torch.inference_mode():
        features = Vgg19Relu3.from_file(WEIGHTS)(image)
    return features[0].clone()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["plain", "standardised"])
def test_winners_on_real_features_are_those_of_float32(
    real_keys: Tensor, kind: str, precision: Precision
) -> None:
    keys = real_keys
    if kind == "standardised":
        keys = standardise(keys[None], torch.zeros(1, 1, 48, 56))[0]
    search = search_of(keys, (12, 30, 16, 40), (40, 48, 0, 5))
    assert_nearest(search, nearest_exact(search, precision=precision))


@pytest.mark.slow
def test_nothing_but_the_keys_decides(real_keys: Tensor) -> None:
    # Whole numbers make ties, and what differs by rounding only is decided all the same.
    part = real_keys[:, :24, :32].clone()
    for keys in (part, part.round()):
        search = search_of(keys, (6, 15, 8, 20), (1, 2, 28, 32))
        expected = nearest_exact(search)
        for precision in PRECISIONS:
            for budget in (40_000, 10**8):
                found = nearest_exact(search, precision=precision, memory_budget=budget)
                assert torch.equal(found, expected), (precision, budget)
    with autocast("cpu", "bfloat16"):
        assert torch.equal(nearest_exact(search), expected)
    torch.set_num_threads(torch.get_num_threads() % 2 + 1)
    assert torch.equal(nearest_exact(search), expected)


def test_coarse_products_elsewhere_in_the_program_change_nothing(real_keys: Tensor) -> None:
    search = search_of(real_keys, (12, 30, 16, 40))
    expected = nearest_exact(search)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(nearest_exact(search), expected)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_queries_and_candidates_may_be_of_different_maps(precision: Precision) -> None:
    queries = torch.rand(9, 14, generator=torch.Generator().manual_seed(3)) < 0.7
    candidates = torch.rand(18, 7, generator=torch.Generator().manual_seed(4)) < 0.7
    for larger in (1.0, 2.0**12, 2.0**-12):
        keys = random_keys(1, 6, 11, 16), larger * random_keys(2, 6, 20, 9)
        search = Search(*keys, queries, candidates)
        matches = nearest_exact(search, precision=precision)
        assert matches.shape == queries.shape
        assert_nearest(search, matches)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_candidates_that_differ_by_less_than_float32_tells(precision: Precision) -> None:
    keys = random_keys(0, 5, 9, 40)
    search = search_of(keys, (3, 6, 20, 23))
    # Each window of the hole occurs twice, the second time a little truer.
    keys[:, 2:7, 2:7] = keys[:, 2:7, 19:24] + 1e-5 * random_keys(1, 5, 5, 5)
    keys[:, 2:7, 30:35] = keys[:, 2:7, 19:24] + 5e-6 * random_keys(2, 5, 5, 5)
    search = search_of(keys, (3, 6, 20, 23))
    matches = nearest_exact(search, precision=precision)
    asked = search.queries.flatten().nonzero().flatten()
    expected = nearest_in_float64(search, asked, budget=10**6)
    assert torch.equal(matches.flatten()[asked], expected)
    # The windows that lie wholly in the copied part: float32 alone would mistake some.
    assert (matches[2:5, 19:22] % 38 >= 28).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_more_equals_than_are_compared_one_by_one(precision: Precision) -> None:
    keys = torch.ones(3, 12, 30) + 0.1 * random_keys(0, 3, 12, 30).round()
    keys[:, :, 9:] = keys[:, :, 9:10]
    keys[:, 4:, 9:] = keys[:, 4:5, 9:10]
    search = search_of(keys, (6, 9, 14, 18))
    matches = nearest_exact(search, precision=precision)
    # All windows of the hole are equal to those of rows 4 on and columns 9 on.
    assert set(matches[search.queries].tolist()) == {4 * 28 + 9}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_least_unlike_wins_where_all_are_unlike(precision: Precision) -> None:
    keys = random_keys(0, 6, 10, 12).abs() + 0.1
    search = search_of(keys, (4, 7, 5, 8))
    search = replace(search, query_keys=-keys)
    assert_nearest(search, nearest_exact(search, precision=precision))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [1e-30, 1e-4, 1e4, 1e15])
def test_sizes_that_half_precision_cannot_hold(precision: Precision, size: float) -> None:
    keys = random_keys(0, 6, 12, 16)
    # Some windows are a thousandth of the others.
    keys[:, :6] *= 1e-3
    expected = nearest_exact(search_of(keys, (4, 8, 5, 9)))
    if size == 1e-30:
        # All count as zero: the first candidate.
        expected = torch.where(expected >= 0, 0, -1)
    assert torch.equal(
        nearest_exact(search_of(keys * size, (4, 8, 5, 9)), precision=precision), expected
    )


@pytest.mark.slow
def test_no_step_holds_more_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    original = exact_match._Sweep.__init__

    def recorded(sweep: exact_match._Sweep, *rest: object) -> None:
        original(sweep, *rest)  # type: ignore[arg-type]
        arrays = [sweep._products, *sweep._sums, sweep._scores]
        held.append(sum(array.numel() * array.element_size() for array in arrays))

    monkeypatch.setattr(exact_match._Sweep, "__init__", recorded)
    search = search_of(random_keys(0, 4, 40, 60), (10, 30, 20, 44))
    for budget, sweeps in ((10**7, 1), (400_000, 4), (60_000, 20)):
        held.clear()
        nearest_exact(search, memory_budget=budget)
        assert len(held) >= sweeps
        assert max(held) <= budget
    assert max(held) > 30_000


def test_the_cost_grows_with_the_holes_and_not_with_what_lies_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored: list[Box] = []
    original = exact_match._Sweep.__init__

    def recorded(sweep: exact_match._Sweep, scoring: object, box: Box, area: Box) -> None:
        scored.append(box)
        original(sweep, scoring, box, area)  # type: ignore[arg-type]

    monkeypatch.setattr(exact_match._Sweep, "__init__", recorded)
    search = search_of(random_keys(0, 2, 40, 60), (0, 2, 0, 2), (38, 40, 58, 60), (38, 40, 0, 1))
    nearest_exact(search)
    sizes = {(box.bottom - box.top) * (box.right - box.left) for box in scored}
    assert sizes == {4, 2}


@pytest.mark.slow
def test_float64_is_not_asked_where_one_candidate_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("asked float64")

    search = search_of(random_keys(0, 16, 24, 30), (3, 9, 4, 20), (20, 24, 26, 30))
    expected = nearest_exact(search)
    monkeypatch.setattr(exact_match, "nearest_in_float64", refuse)
    for budget in (6_000, 30_000, 10**7):
        assert torch.equal(nearest_exact(search, memory_budget=budget), expected)


@pytest.mark.parametrize("size", [2.0**-12, 1.0, 2.0**12])
def test_float16_decides_most_by_itself(real_keys: Tensor, size: float) -> None:
    # The maps may differ in size: products of their cells must stay finite.
    search = search_of(real_keys, (12, 30, 16, 40))
    search = replace(search, candidate_keys=real_keys * size)
    matches, undecided = exact_match._search(search, torch.float16, 10**7)
    assert undecided.sum() < 0.3 * search.queries.sum()
    assert torch.equal(matches[~undecided], nearest_exact(search)[~undecided])


def test_a_window_that_counts_as_zero_is_like_nothing() -> None:
    keys = random_keys(0, 6, 9, 30)
    # The first known window is the query's direction, and nearly nothing.
    keys[:, 3:6, 20:23] += 2
    keys[:, 3:6, 2:5] = keys[:, 3:6, 20:23] * 9e-9 / keys[:, 3:6, 20:23].norm()
    search = search_of(keys, (3, 6, 20, 23))
    assert nearest_exact(search)[3, 20] != 3 * 28 + 2
    keys[:, 3:6, 2:5] *= 100
    assert nearest_exact(search)[3, 20] == 3 * 28 + 2


def test_half_precision_only_where_it_is_added_up_in_float32() -> None:
    assert exact_match._dtype(torch.device("cpu"), "bfloat16") == torch.bfloat16
    for precision in PRECISIONS:
        assert exact_match._dtype(torch.device("cuda"), precision) == torch.float32
