"""Which search answers a question: exact, approximate or whichever is affordable."""

from dataclasses import replace
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from kintsugi.models.match.approximate import nearest_approximate
from kintsugi.models.match.exact import nearest_exact
from kintsugi.models.match.windows import Search, windows_touching
from kintsugi.models.precision import PRECISIONS, Precision

Method = Literal["exact", "approximate", "auto"]
METHODS: tuple[Method, ...] = get_args(Method)

# Scores that "auto" still computes all of: some seconds on two cores.
MOST_EXACT_SCORES = 2**28


def nearest(
    search: Search,
    *,
    method: Method = "exact",
    init: Int64[Tensor, "rows columns"] | None = None,
    seed: int = 0,
    precision: Precision = "float32",
) -> Int64[Tensor, "rows columns"]:
    """The nearest candidate of every query by the chosen search.

    Keys that are not finite (NaN, infinite) count as 0, in all channels of their cell, and
    windows with such a cell are no candidates unless all candidates have one. An autocast
    around the call changes nothing.

    Args:
        search: Queries and candidates.
        method: "exact", "approximate", or "auto": exact up to 2**28 scores (queries x
            candidates), beyond that approximate.
        init: Where the approximate search starts, as `kintsugi.models.match.approximate` takes it;
            the exact one needs none.
        seed: Decides every random choice of the approximate search.
        precision: What the exact search multiplies in (`kintsugi.models.match.exact`); its
            answer is the same in all. The approximate one computes in float32.

    Returns: per query window the index of its match, -1 elsewhere.

    Raises: ValueError for another method or precision.
    """
    check_options(method=method, precision=precision)
    search = _finite(search)
    if method == "auto":
        scores = int(search.queries.sum()) * int(search.candidates.sum())
        method = "exact" if scores <= MOST_EXACT_SCORES else "approximate"
    answer = (
        partial(nearest_exact, precision=precision)
        if method == "exact"
        else partial(nearest_approximate, init=init, seed=seed)
    )
    with torch.autocast(search.query_keys.device.type, enabled=False):
        return answer(search)


def check_options(*, method: str, precision: str) -> None:
    """Raises: ValueError for an option that `nearest` does not take."""
    check_method(method)
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: choose one of {', '.join(PRECISIONS)}")


def check_method(method: str) -> None:
    """Raises: ValueError for a name that is no method."""
    if method not in METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(METHODS)}")


def _finite(search: Search) -> Search:
    """The search without what is not finite."""
    known = torch.isfinite(search.candidate_keys).all(0)
    same = search.candidate_keys is search.query_keys
    asked = known if same else torch.isfinite(search.query_keys).all(0)
    if known.all() and asked.all():
        return search
    candidate_keys = search.candidate_keys.masked_fill(~known, 0)
    query_keys = candidate_keys if same else search.query_keys.masked_fill(~asked, 0)
    candidates = search.candidates & ~windows_touching(~known)
    if not candidates.any():
        candidates = search.candidates
    return replace(
        search, query_keys=query_keys, candidate_keys=candidate_keys, candidates=candidates
    )
