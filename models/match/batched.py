"""The exact search for a whole batch at once, in few operations: for accelerators.

`kintsugi.models.match.exact` looks at one map and leaves out what need not be computed: best
where a processor computes. There each of its hundreds of small steps, and each look at their
outcome, holds a GPU up for longer than it computes. Here every window of every map is scored
against every other, in steps whose number depends neither on the maps nor on how many they are;
the host looks once, at how many queries several candidates contend for. The answers are the
same: those of exact arithmetic.

Shapes: B batch, C channels, h w feature cells, n = (h - 2) * (w - 2) windows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.scoring.float64 import TIE
from kintsugi.models.match.scoring.score_error import float32_error
from kintsugi.models.match.windows import KEPT, PATCH, SMALLEST_NORM

# Bytes that are held at one time; more items than have room there are searched in turn.
MEMORY_BUDGET = 4 * 2**30
# More contenders than this are not compared one by one.
_MOST_CONTENDERS = 16
_NONE = torch.iinfo(torch.int64).max


class BatchPlan(NamedTuple):
    """What a batch's masks decide of its search, however often its keys change.

    Attributes:
        hole: Cells of the hole, B h w.
        asked: Windows that are matched, B n.
        candidates: Windows that may be copied, B n.
        cells: The nine cells of every window, n 9.
        first: Of each item its first cell among those of the batch, B.
    """

    hole: Bool[Tensor, "B h w"]
    asked: Bool[Tensor, "B n"]
    candidates: Bool[Tensor, "B n"]
    cells: Int64[Tensor, "n 9"]
    first: Int64[Tensor, "B"]

    def items(self, some: slice) -> "BatchPlan":
        """The plan of some of the items."""
        return BatchPlan(
            self.hole[some], self.asked[some], self.candidates[some], self.cells, self.first
        )


def fits(channels: int, height: int, width: int, *, budget: int = MEMORY_BUDGET) -> bool:
    """Whether a map can be searched so at all: in float64, too, at need."""
    return _bytes_of_item(channels, height * width, 8) <= budget


def plan_batch(hole: Bool[Tensor, "B h w"], guard: int) -> BatchPlan:
    """Which windows are matched, and which may be copied, as `windows_touching` and
    `candidate_windows` say.
    """
    _, height, width = hole.shape
    grid = hole[:, None].float()
    touching = F.max_pool2d(grid, PATCH, 1)
    # In how many of the distances 0 to the guard there is hole: as few as anywhere, and not in all.
    near = touching
    for distance in range(1, guard + 1):
        near = near + F.max_pool2d(grid, PATCH + 2 * distance, 1, distance)
    near = near.flatten(1)
    least = near.amin(1, keepdim=True)
    # Where no window is known, this is below them all.
    candidates = near <= least.masked_fill(least > guard, -1)
    asked = touching.flatten(1) > (least > guard)
    numbers = torch.arange(height * width, device=hole.device).view(height, width)
    cells = numbers.unfold(0, PATCH, 1).unfold(1, PATCH, 1).reshape(-1, PATCH**2)
    first = torch.arange(0, hole.numel(), height * width, device=hole.device)
    return BatchPlan(hole, asked, candidates, cells, first)


@torch.no_grad()
def nearest_of_batch(
    keys: Float[Tensor, "B C h w"], plan: BatchPlan, *, budget: int = MEMORY_BUDGET
) -> Int64[Tensor, "B h-2 w-2"]:
    """The nearest candidate of every query of every item; among equals the lowest index.

    Args:
        keys: What is compared, in any floating type; values that are not finite count as in
            `kintsugi.models.match.search.nearest`.
        plan: Of the masks.
        budget: Bytes that may be held at one time; beyond it a batch is searched in parts.

    Returns: per query window the index of its match, -1 elsewhere.
    """
    batch, channels, height, width = keys.shape
    at_once = max(1, budget // _bytes_of_item(channels, height * width, 4))
    # What multiplies here does so in float32, whatever networks around it do.
    with torch.autocast(keys.device.type, enabled=False):
        found = [
            _Search(keys[some].float(), plan.items(some), budget).answer()
            for some in _slices(batch, at_once)
        ]
    answer = found[0] if len(found) == 1 else torch.cat(found)
    return answer.view(batch, height - PATCH + 1, width - PATCH + 1)


class _Search:
    """The search of some items.

    Attributes:
        cells: Of the maps, B C h*w.
        rows: The same cells as rows, B*h*w C.
        norms: Of windows, B n.
        candidates: As in the plan, without windows that are not finite where there are others.
    """

    def __init__(self, keys: Float[Tensor, "B C h w"], plan: BatchPlan, budget: int) -> None:
        self.plan, self.budget = plan, budget
        # Nothing less itself is no number where it is not finite.
        unknown = (keys - keys).isnan().any(1, keepdim=True)
        keys = keys.masked_fill(unknown, 0)
        finite = plan.candidates & (F.max_pool2d(unknown.float(), PATCH, 1).flatten(1) == 0)
        self.candidates = torch.where(finite.any(1, keepdim=True), finite, plan.candidates)
        self.batch, self.channels, self.height, self.width = keys.shape
        self.cells = keys.flatten(2)
        self.rows = self.cells.transpose(1, 2).flatten(0, 1).contiguous()
        self.norms = self._squares(keys).sqrt().clamp_min(SMALLEST_NORM)

    def answer(self) -> Int64[Tensor, "B n"]:
        """The match of every window that is asked: by float32 where it is sure, else by float64."""
        asked = self.plan.asked
        scores = self._scores(self.cells)
        scores *= ((self.norms > SMALLEST_NORM) / self.norms)[:, None]
        scores.masked_fill_(~self.candidates[:, None], -torch.inf)
        best, winner = scores.max(2)
        error = 2 * float32_error(self.channels, scores.device)
        close = scores >= torch.sub(best, self.norms, alpha=error)[..., None]
        del scores
        contenders = close.sum(2) * asked
        crowded = contenders > _MOST_CONTENDERS
        several = (contenders > 1) & ~crowded
        pairs, items = look(torch.stack([(contenders * several).sum(), crowded.any(1).sum()]))
        winner = winner.masked_fill(~asked, KEPT)
        if pairs:
            at = (close & several[..., None]).nonzero_static(size=pairs)
            winner = torch.where(several, self._best_of_pairs(at), winner)
        if items:
            which = crowded.any(1).nonzero_static(size=items).flatten()
            tried = torch.where(crowded[which], self._try_all(which), winner[which])
            winner = winner.index_copy(0, which, tried)
        return winner

    def _squares(self, keys: Float[Tensor, "B C h w"]) -> Tensor:
        """Squared lengths of windows, B n."""
        squares = keys.square().sum(1, keepdim=True)
        return F.avg_pool2d(squares, PATCH, 1, divisor_override=1).flatten(1)

    def _scores(self, cells: Float[Tensor, "b C hw"]) -> Tensor:
        """Products of all windows with all others of their item, b n n.

        Those of cells, and for each two windows the sum of nine of them: the cells of a window
        lie at the same distances in both, and so do their products.
        """
        height, width, places = self.height, self.width, self.height * self.width
        products = torch.bmm(cells.transpose(1, 2), cells)
        down, across = height - PATCH + 1, width - PATCH + 1
        windows = products.as_strided(
            (len(cells), down, across, down, across, PATCH, PATCH),
            (places**2, width * places, places, width, 1, width * (places + 1), places + 1),
        )
        return windows.sum((5, 6)).view(len(cells), down * across, down * across)

    def _best_of_pairs(self, at: Int64[Tensor, "m 3"]) -> Int64[Tensor, "B n"]:
        """Of triples (item, query, candidate) each query's best, by float64; elsewhere any."""
        item, query, candidate = at.unbind(1)
        cells = self.plan.cells[at[:, 1:]] + self.plan.first[item][:, None, None]
        at_once = max(1, self.budget // (8 * 4 * PATCH**2 * self.channels))
        values = [self._similarity(cells[some]) for some in _slices(len(at), at_once)]
        value = values[0] if len(values) == 1 else torch.cat(values)
        place = item * self.plan.asked.shape[1] + query
        best = value.new_full((self.plan.asked.numel(),), -torch.inf)
        best = best.scatter_reduce(0, place, value, "amax")
        lowest = candidate.masked_fill(value < best[place] - TIE, _NONE)
        chosen = torch.full_like(best, _NONE, dtype=torch.int64)
        return chosen.scatter_reduce(0, place, lowest, "amin").view_as(self.plan.asked)

    def _similarity(self, cells: Int64[Tensor, "m 2 9"]) -> Float64[Tensor, "m"]:
        windows = self.rows[cells].double().flatten(2)
        one, other = (windows * _reciprocal(windows.square().sum(2))[..., None]).unbind(1)
        return (one * other).sum(1)

    def _try_all(self, which: Int64[Tensor, "k"]) -> Int64[Tensor, "k n"]:
        """The best of all candidates of every window of these items, by float64."""
        index = torch.arange(self.plan.asked.shape[1], device=which.device)
        each = _bytes_of_item(self.channels, self.height * self.width, 8)
        chosen = []
        for part in _slices(len(which), max(1, self.budget // each)):
            some = which[part]
            cells = self.cells[some].double()
            lengths = self._squares(cells.view(len(some), -1, self.height, self.width))
            weight = _reciprocal(lengths)
            scores = self._scores(cells)
            scores *= weight[:, None] * weight[..., None]
            scores.masked_fill_(~self.candidates[some][:, None], -torch.inf)
            equal = scores >= scores.amax(2, keepdim=True) - TIE
            chosen.append(index.expand_as(equal).masked_fill(~equal, _NONE).amin(2))
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen)


def paste_batch(
    features: Float[Tensor, "B C h w"], indices: Int64[Tensor, "B h-2 w-2"], plan: BatchPlan
) -> Float[Tensor, "B C h w"]:
    """Copy matched windows over the hole and average where they overlap.

    Differentiable with respect to the copied values.
    """
    batch, channels, height, width = features.shape
    # The nine windows over each cell, and which of their cells lies there.
    around = F.pad(indices, (PATCH - 1,) * 4, value=KEPT)
    match = around.unfold(1, PATCH, 1).unfold(2, PATCH, 1).reshape(batch, height * width, PATCH**2)
    place = torch.arange(PATCH**2 - 1, -1, -1, device=match.device)
    given = (match != KEPT) & plan.hole.view(batch, -1, 1)
    source = plan.cells.flatten()[match.clamp_min(0) * PATCH**2 + place]
    count = given.sum(2, keepdim=True)
    rows = features.movedim(1, 3).reshape(-1, channels).float()
    mean = F.embedding_bag(
        (source + plan.first[:batch, None, None]).flatten(0, 1),
        rows,
        mode="sum",
        per_sample_weights=(given / count.clamp_min(1)).flatten(0, 1),
    )
    copied = mean.view(batch, height, width, channels).movedim(3, 1).to(features.dtype)
    return torch.where(count.view(batch, 1, height, width) > 0, copied, features)


def look(numbers: Int64[Tensor, "n"]) -> list[int]:
    """The only place where the host waits for what was computed."""
    known: list[int] = numbers.tolist()
    return known


def _bytes_of_item(channels: int, places: int, itemsize: int) -> int:
    """Products and sums of an item, its cells twice, and which sums are close."""
    return itemsize * (2 * places**2 + 2 * channels * places) + places**2


def _slices(count: int, at_once: int) -> Iterator[slice]:
    return (slice(first, first + at_once) for first in range(0, count, at_once))


def _reciprocal(squares: Tensor) -> Tensor:
    """1 / |x| of squared norms, 0 for what counts as zero."""
    norms = squares.sqrt()
    return (norms >= SMALLEST_NORM) / norms.clamp_min(SMALLEST_NORM)
