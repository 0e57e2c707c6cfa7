"""The spread limit against a plain one of loops, with both searches."""

from functools import partial

import pytest
import torch
from torch import Tensor

from models.match.approximate import nearest_approximate
from models.match.exact import nearest_exact
from models.match.patch_swap import match_patches, patch_swap
from models.match.reuse_limit import MOST_ROUNDS, _next_with_room, spread_matches
from models.match.windows import Search, candidate_windows, windows_touching
from tests.models.match.test_patch_swap import features_of, mask_of
from tests.models.naive_patch_swap import swap_batch


@pytest.mark.parametrize("max_uses", [1, 2, 5, 100])
def test_equals_the_reference(max_uses: int) -> None:
    # A flat part, to which much is alike, and a hole that has to share it.
    features = features_of(0, 1, 4, 12, 13) + 2
    features[..., :4, :] = 1 + 0.01 * features[..., :4, :]
    mask = mask_of(12, 13, (5, 9, 4, 9))
    got = patch_swap(features, mask, max_uses=max_uses)
    expected = swap_batch(features.double().numpy(), mask.double().numpy(), max_uses=max_uses)
    torch.testing.assert_close(got.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def test_the_best_keep_a_window_and_among_equals_the_lowest() -> None:
    features = torch.ones(1, 2, 3, 12)
    features[..., 1, :] = 0.5
    mask = mask_of(3, 12, (0, 3, 6, 12))
    # Four windows are known (0 to 3), all alike, and six are asked for, all alike.
    assert match_patches(features, mask, max_uses=2)[0, 0].tolist() == [
        *(4 * [-1]),
        *[0, 0, 1, 1, 2, 2],
    ]
    # Room for six takes two uses at least.
    assert torch.equal(
        match_patches(features, mask, max_uses=1), match_patches(features, mask, max_uses=2)
    )
    features[0, 0, 1, 10:] = 0.8
    matched = match_patches(features, mask, max_uses=2)[0, 0, 4:].tolist()
    # The last two are less like the known ones and come last.
    assert matched == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("exact", [True, False])
def test_the_limit_holds_for_either_search(exact: bool) -> None:
    keys = features_of(1, 8, 20, 24) + 1
    hole = torch.zeros(20, 24, dtype=torch.bool)
    hole[6:13, 8:17] = True
    search = Search(keys, keys, windows_touching(hole), candidate_windows(hole, 0))
    nearest = nearest_exact if exact else partial(nearest_approximate, seed=1)
    free = nearest(search)
    assert free[search.queries].bincount().max() > 2
    matches = spread_matches(search, 2, nearest)
    assert matches[search.queries].bincount().max() == 2
    assert search.candidates.flatten()[matches[search.queries]].all()
    assert (matches[~search.queries] == -1).all()
    assert torch.equal(matches, spread_matches(search, 2, nearest))


def test_a_round_fills_a_window_at_once() -> None:
    keys = torch.ones(2, 3, 12)
    hole = torch.zeros(3, 12, dtype=torch.bool)
    hole[:, 6:] = True
    search = Search(keys, keys, windows_touching(hole), candidate_windows(hole, 0))
    rounds = []

    def counted(search: Search) -> Tensor:
        rounds.append(int(search.queries.sum()))
        return nearest_exact(search)

    spread_matches(search, 3, counted)
    # Six alike ask for the first window, of whom three keep it, the others for the second.
    assert rounds == [6, 3]


@pytest.mark.parametrize("max_uses", [1, 4, 2**60])
def test_a_flat_map_is_done_after_so_many_rounds(max_uses: int) -> None:
    keys = torch.ones(2, 30, 30)
    hole = torch.zeros(30, 30, dtype=torch.bool)
    hole[8:20, 8:20] = True
    search = Search(keys, keys, windows_touching(hole), candidate_windows(hole, 0))
    rounds = []

    def lowest(search: Search) -> Tensor:
        rounds.append(int(search.queries.sum()))
        return torch.where(search.queries, search.candidates.flatten().int().argmax(), -1)

    matches = spread_matches(search, max_uses, lowest)
    queries = int(search.queries.sum())
    limit = max(max_uses, -(-queries // int(search.candidates.sum())))
    assert len(rounds) == min(MOST_ROUNDS, -(-queries // limit))
    uses = matches[search.queries].bincount(minlength=28 * 28)
    assert uses.max() == min(limit, queries)
    assert (uses[~search.candidates.flatten()] == 0).all()
    assert (matches[~search.queries] == -1).all()


def test_who_is_left_takes_a_window_soon_after_the_wanted_one() -> None:
    room = torch.tensor([1, 0, 0, 2, 1, 0, 3, 1])
    taken = _next_with_room(torch.tensor([5, 2, 1, 1, 7]), room)
    assert taken.tolist() == [6, 4, 3, 3, 7]
    # Who wants more than the end holds is moved back; then all room is taken.
    assert _next_with_room(torch.tensor([7, 7, 7]), room).tolist() == [6, 6, 7]
    everything = _next_with_room(torch.full((8,), 4), room)
    assert torch.equal(everything.bincount(), room)
