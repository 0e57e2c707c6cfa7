"""Which search answers a question: exact, approximate or whichever is affordable."""

from functools import partial
from typing import Literal, get_args

from jaxtyping import Int64
from torch import Tensor

from models.match.approximate import nearest_approximate
from models.match.exact import nearest_exact
from models.match.spread_limit import spread_matches
from models.match.windows import Search

Method = Literal["exact", "approximate", "auto"]
METHODS: tuple[Method, ...] = get_args(Method)

# Scores that "auto" still computes all of: some seconds on two cores.
MOST_EXACT_SCORES = 2**28


def nearest(
    search: Search,
    *,
    method: Method = "exact",
    init: Int64[Tensor, "rows columns"] | None = None,
    max_uses: int | None = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> Int64[Tensor, "rows columns"]:
    """The nearest candidate of every query by the chosen search.

    Args:
        search: Queries and candidates.
        method: "exact", "approximate", or "auto": exact up to 2**28 scores (queries x
            candidates), beyond that approximate.
        init: Where the approximate search starts, as `models.match.approximate` takes it;
            the exact one needs none.
        max_uses: How many queries may have one window as their match, at least 1; None:
            as many as like.
        seed: Decides every random choice of the approximate search.
        memory_budget: Bytes for the scores held at one time; None: the search's own.

    Returns: per query window the index of its match, -1 elsewhere.

    Raises: ValueError for another method, or ``max_uses`` less than 1.
    """
    check_method(method)
    if method == "auto":
        scores = int(search.queries.sum()) * int(search.candidates.sum())
        method = "exact" if scores <= MOST_EXACT_SCORES else "approximate"
    answer = (
        partial(nearest_exact, memory_budget=memory_budget)
        if method == "exact"
        else partial(nearest_approximate, init=init, seed=seed, memory_budget=memory_budget)
    )
    return answer(search) if max_uses is None else spread_matches(search, max_uses, answer)


def check_method(method: str) -> None:
    """Raises: ValueError for a name that is no method."""
    if method not in METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(METHODS)}")
