"""Contenders kept while scores pass by: against all scores at once, and when there are too many."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kintsugi.models.match.scoring.contenders import MOST_CONTENDERS, Contenders


def pass_by(slack: Tensor, scores: Tensor, rows_at_once: int) -> set[tuple[int, int]]:
    """The settled (query, candidate) of scores n rows columns."""
    contenders = Contenders(slack)
    indices = torch.arange(scores[0].numel()).view_as(scores[0])
    for first in range(0, scores.shape[1], rows_at_once):
        some = slice(first, first + rows_at_once)
        contenders.add(scores[:, some], indices[some])
    pairs = contenders.settled()
    assert torch.equal(pairs.scores, scores.flatten(1)[pairs.queries, pairs.candidates])
    return set(zip(pairs.queries.tolist(), pairs.candidates.tolist(), strict=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 9999),
    rows_at_once=st.integers(1, 7),
    width=st.integers(1, 9),
    tie_every=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_equals_what_all_scores_at_once_tell(
    seed: int, rows_at_once: int, width: int, tie_every: float
) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(5, 40, width, generator=random) + 1
    # Rising scores: what leads is overtaken again and again.
    scores += torch.linspace(0, 1, 40)[:, None]
    if tie_every:
        scores = (scores / tie_every).round() * tie_every
    slack = torch.tensor([0.1, 0.0, 0.5, -torch.inf, 100.0])
    within = scores.flatten(1) >= scores.amax((1, 2))[:, None] - slack[:, None]
    # Nothing is asked of the fourth, and of the fifth anything might be the best.
    settled = (within.sum(1) <= MOST_CONTENDERS) & (scores.amax((1, 2)) > slack)
    settled[3] = False
    query, candidate = (within & settled[:, None]).nonzero(as_tuple=True)
    expected = set(zip(query.tolist(), candidate.tolist(), strict=True))
    found = pass_by(slack, scores, rows_at_once)
    # A query that had too many for a while may have been given up; others are complete.
    given_up = {query for query, _ in expected} - {query for query, _ in found}
    assert found == {pair for pair in expected if pair[0] not in given_up}
    if not tie_every:
        assert not given_up & {0, 1}


def test_who_had_too_many_never_settles() -> None:
    scores = torch.ones(2, 60, 4)
    scores[1] = torch.linspace(1, 2, 240).view(60, 4)
    scores[0, 50:] = 3
    # The first query's crowd is overtaken, but by a crowd again; the second has one best.
    assert pass_by(torch.tensor([0.01, 0.001]), scores, 1) == {(1, 239)}


def test_what_is_held_stays_small() -> None:
    contenders = Contenders(torch.full((3,), 0.1))
    for row in range(500):
        contenders.add(torch.ones(3, 1, 50), torch.arange(50)[None] + 50 * row)
        assert contenders._held <= 3 * (MOST_CONTENDERS + 50)
