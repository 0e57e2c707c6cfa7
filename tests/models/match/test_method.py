"""Which search answers: by name, and by the number of scores."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import models.match.method as match_method
from models.match.method import check_method, nearest
from models.match.windows import Search
from models.patch_swap import match_patches, patch_swap
from tests.models.match.test_exact import random_keys, search_of
from tests.models.test_patch_swap import features_of, mask_of


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
    found = match_patches(features, mask, method="approximate", init=init, seed=4, max_uses=2)
    # The second photograph has no hole: nothing is searched.
    assert set(asked) == {"approximate"}
    assert (found[1] == -1).all()
    assert found[0][found[0] >= 0].bincount().max() <= 2
    swapped = patch_swap(features, mask, method="approximate", init=init, seed=4, max_uses=2)
    assert not torch.equal(swapped[0], features[0])
    assert torch.equal(swapped[1], features[1])


def test_a_name_that_is_no_method_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"method='fast'.*exact, approximate, auto"):
        check_method("fast")
