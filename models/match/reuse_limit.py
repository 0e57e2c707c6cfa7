"""No window copied too often: shares windows out among the queries that want them; no search.

Some windows, mostly flat ones, are nearest to very many queries, and a hole filled with
copies of one window shows it.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from models.match.scoring.float64 import similarities_in_float64
from models.match.windows import KEPT, Search

# Similarities nearer to each other than this are equal: the lower query comes first.
_TIE = 1e-9
# Bytes for the windows that are compared at one time.
_BUDGET = 16 * 2**20
# Rounds of asking. Where much is alike, all ask for one window and few are served a round.
MOST_ROUNDS = 8


def spread_matches(
    search: Search, max_uses: int, nearest: Callable[[Search], Tensor]
) -> Int64[Tensor, "rows columns"]:
    """Match every query so that no window is the match of more than ``max_uses``.

    In rounds: every query asks for its nearest window. Of those that ask for one window the
    most similar keep it; among equals the lowest. A window that is full is no candidate any
    more, and the others ask again, 8 times at most: ``nearest`` is called no more often.
    Those still left take, in the order of what they asked for last, the next windows in
    reading order that have room: beside a flat window there mostly is another one.

    Args:
        search: Queries and candidates.
        max_uses: At least 1. Where all candidates together would not do for the queries,
            it is raised to the least that does.
        nearest: Answers a search, as `models.match.exact.nearest_exact`.

    Returns: per query window the index of its match, -1 elsewhere.

    Raises: ValueError when ``max_uses`` is less than 1.
    """
    check_max_uses(max_uses)
    queries, candidates = search.queries.clone(), search.candidates.clone()
    count = int(queries.sum())
    least = -(-count // int(candidates.sum()))
    room = candidates.long().flatten() * min(max(max_uses, least), count)
    matches = torch.full_like(queries, KEPT, dtype=torch.int64)
    for _ in range(MOST_ROUNDS):
        found = nearest(replace(search, queries=queries, candidates=candidates))
        asking = queries.flatten().nonzero().flatten()
        wanted = found.flatten()[asking]
        similarity = similarities_in_float64(search, asking, wanted, budget=_BUDGET)
        kept = _first_in_line(wanted, similarity, room)
        matches.view(-1)[asking[kept]] = wanted[kept]
        queries.view(-1)[asking[kept]] = False
        room -= wanted[kept].bincount(minlength=len(room))
        candidates = (room > 0).view_as(candidates)
        asking, wanted = asking[~kept], wanted[~kept]
        if not len(asking):
            return matches
    matches.view(-1)[asking] = _next_with_room(wanted, room)
    return matches


def check_max_uses(max_uses: int) -> None:
    """Raises: ValueError when ``max_uses`` is less than 1."""
    if max_uses < 1:
        raise ValueError(f"max_uses={max_uses}: a window may be copied 1 time or more, or None")


def _next_with_room(
    wanted: Int64[Tensor, "n"], room: Int64[Tensor, "windows"]
) -> Int64[Tensor, "n"]:
    """A window for each: with room, at or soon after the wanted one, else before the end."""
    wanted, order = wanted.sort(stable=True)
    # Every window has as many seats as room, all numbered in reading order. Each takes the
    # first free one at its window or after, but not the last ones, which others still need.
    ends = room.cumsum(0)
    number = torch.arange(len(wanted), device=wanted.device)
    seat = number + ((ends - room)[wanted] - number).cummax(0).values
    seat = torch.minimum(seat, ends[-1] - len(wanted) + number)
    taken = torch.empty_like(wanted)
    taken[order] = torch.searchsorted(ends, seat, right=True)
    return taken


def _first_in_line(
    wanted: Int64[Tensor, "n"], similarity: Float64[Tensor, "n"], room: Int64[Tensor, "windows"]
) -> Bool[Tensor, "n"]:
    """Who keeps what it wants: as many of each window as it has room for, the best first."""
    line = (similarity / _TIE).round().argsort(descending=True, stable=True)
    line = line[wanted[line].argsort(stable=True)]
    sought = wanted[line]
    # Place in the line of one's own window: place among all less that of the line's first.
    first = torch.searchsorted(sought, sought)
    place = torch.arange(len(line), device=line.device) - first
    kept = torch.zeros_like(wanted, dtype=torch.bool)
    kept[line] = place < room[sought]
    return kept
