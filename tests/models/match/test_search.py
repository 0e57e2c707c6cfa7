"""Which search answers: by name, and by the number of scores."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import kintsugi.models.match.search as match_method
from kintsugi.models.match.patch_swap import match_patches, patch_swap
from kintsugi.models.match.search import Method, check_method, check_options, nearest
from kintsugi.models.match.windows import Search
from kintsugi.models.precision import PRECISIONS, Precision
from kintsugi.models.stylize import swap_style
from tests.models.match.test_exact import random_keys, search_of
from tests.models.match.test_patch_swap import features_of, mask_of


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the searches that were asked, while they still answer."""
    names: list[str] = []
    for name in ("exact", "approximate"):
        original = getattr(match_method, f"nearest_{name}")

        def recorded(
            search: Search, *, _name: str = name, _call: object = original, **options: object
        ) -> Tensor:
            names.append(_name)
            return _call(search, **options)  # type: ignore[operator,no-any-return]

        monkeypatch.setattr(match_method, f"nearest_{name}", recorded)
    return names


def test_auto_is_exact_as_long_as_that_is_affordable(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of(random_keys(0, 8, 14, 14), (5, 8, 5, 8))
    scores = int(search.queries.sum()) * int(search.candidates.sum())
    for most, name in ((scores, "exact"), (scores - 1, "approximate")):
        monkeypatch.setattr(match_method, "MOST_EXACT_SCORES", most)
        nearest(search, method="auto")
        assert asked.pop() == name
    nearest(search)
    nearest(search, method="approximate")
    assert asked == ["exact", "approximate"]
    # What need not be searched costs nothing.
    monkeypatch.setattr(match_method, "MOST_EXACT_SCORES", scores)
    fewer = torch.zeros_like(search.candidates)
    fewer[0, :3] = True
    nearest(replace(search, candidates=fewer), method="auto")
    assert asked[-1] == "exact"


def test_patch_swap_hands_everything_on(asked: list[str]) -> None:
    features = features_of(0, 2, 6, 16, 16)
    mask = torch.cat([mask_of(16, 16, (5, 9, 5, 9)), mask_of(16, 16)])
    init = torch.full((2, 14, 14), 3)
    found = match_patches(features, mask, method="approximate", init=init, seed=4)
    # The second photograph has no hole: nothing is searched.
    assert set(asked) == {"approximate"}
    assert (found[1] == -1).all()
    assert (found[0] >= 0).any()
    swapped = patch_swap(features, mask, method="approximate", init=init, seed=4)
    assert not torch.equal(swapped[0], features[0])
    assert torch.equal(swapped[1], features[1])


def test_a_name_that_is_no_method_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"method='fast'.*exact, approximate, auto"):
        check_method("fast")


@pytest.mark.parametrize("method", ["exact", "approximate"])
def test_an_autocast_around_it_changes_nothing(method: Method) -> None:
    features, mask = features_of(0, 1, 40, 16, 16), mask_of(16, 16, (5, 9, 5, 9))
    style = features_of(1, 1, 40, 12, 14)
    matches = match_patches(features, mask, method=method)
    swapped = swap_style(features, style, strength=1.0, method=method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(match_patches(features, mask, method=method), matches)
        assert torch.equal(swap_style(features, style, strength=1.0, method=method), swapped)


@pytest.mark.parametrize("method", ["exact", "approximate"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_neither_compared_nor_matched(method: Method, value: float) -> None:
    keys = random_keys(0, 8, 14, 14)
    search = search_of(keys, (5, 8, 5, 8))
    spoilt = keys.clone()
    spoilt[3, 1, 1] = spoilt[5, 6, 6] = value
    # A spoilt cell counts as 0, and the nine windows with the known one are no candidates.
    zeroed = keys.clone()
    zeroed[:, 1, 1] = zeroed[:, 6, 6] = 0
    candidates = search.candidates.clone()
    candidates[:2, :2] = False
    expected = nearest(replace(search_of(zeroed, (5, 8, 5, 8)), candidates=candidates))
    found = nearest(replace(search, query_keys=spoilt, candidate_keys=spoilt), method=method)
    assert (found[search.queries] >= 0).all()
    assert candidates.flatten()[found[search.queries]].all()
    assert len(found[search.queries].unique()) > 5
    if method == "exact":
        assert torch.equal(found, expected)
        # Nor when queries and candidates are of two maps.
        two = replace(search, query_keys=spoilt, candidate_keys=spoilt.clone())
        assert torch.equal(nearest(two), expected)


@pytest.mark.parametrize("method", ["exact", "approximate"])
def test_nothing_finite_at_all(method: Method) -> None:
    search = search_of(torch.full((4, 9, 9), torch.nan), (3, 5, 3, 5))
    found = nearest(search, method=method)[search.queries]
    assert search.candidates.flatten()[found].all()


def test_precision_reaches_the_exact_search(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = match_method.nearest_exact

    def recorded(search: Search, *, precision: Precision, **options: int | None) -> Tensor:
        seen.append(precision)
        return original(search, precision=precision, **options)

    monkeypatch.setattr(match_method, "nearest_exact", recorded)
    features, mask = features_of(0, 1, 6, 16, 16), mask_of(16, 16, (5, 9, 5, 9))
    swapped = patch_swap(features, mask)
    for precision in PRECISIONS:
        assert torch.equal(patch_swap(features, mask, precision=precision), swapped)
    assert seen == ["float32", *PRECISIONS]


@pytest.mark.parametrize(
    ("option", "value"),
    [("method", "fast"), ("precision", "int8")],
)
def test_an_option_that_is_none_is_refused(option: str, value: object) -> None:
    options = {"method": "auto", "precision": "float32"}
    check_options(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{option}={value!r}"):
        check_options(**options | {option: value})  # type: ignore[arg-type]
