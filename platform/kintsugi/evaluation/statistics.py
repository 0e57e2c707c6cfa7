"""Figures of many photographs as statistics: means, intervals, bins, worst cases; prints nothing.

Everything here but the times is the same in every run: resampling is seeded.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from kintsugi.evaluation.evaluate import CaseResult, PhotoResult
from kintsugi.evaluation.learned_metrics import frechet_distance, inception_discrimination
from kintsugi.evaluation.realism.cells import from_bytes
from kintsugi.evaluation.realism.pooling import CellSample, bootstrap_weights, pool_realism
from kintsugi.masks.sets import HOLE_BINS, hole_bin

# How many of the photographs that a method did worst on are named.
WORST_CASES = 5
# By it they are the worst.
WORST_BY = "hole_l1_percent"
# Figures of a photograph that stand in reports as median and quartiles: ratios, with a long tail.
SPREAD_FIGURES = ("outline_step", "laplacian")
# What a metric computed twice may differ in is behind these.
_DIGITS = 6

Rows = npt.NDArray[np.float64]


class _Group:
    """The fills of one mask set by one method, with the photographs that they are of."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.fills: list[CaseResult] = []
        self.problems: dict[str, str] = {}
        self.truths: list[bytes] = []
        self.cells: list[tuple[dict[str, bytes], ...]] = []


def summarise(results: Sequence[PhotoResult], *, seed: int = 0) -> list[dict[str, Any]]:
    """One entry for each mask set and method, in the order of the evaluation.

    ``realism``: as `kintsugi.evaluation.realism.pooling.Realism` has it; its layers only where
    there is an encoder. ``metrics``: mean, sd (n - 1) and low and high of the 95 % interval of the
    mean, by bootstrap over photographs: 2.5th and 97.5th percentile of weighted means. Every
    method is resampled alike, so that two of them can be compared, also where one has no fill of
    some photograph.
    ``bins``: means over holes of 0-10 %, 10-20 % ... of the photograph. ``worst``: the
    photographs with the largest L1 in the hole. ``set_metrics``: of all photographs together;
    only with Inception's weights.
    """
    return [_entry(*key, group, seed) for key, group in _groups(results).items()]


def summarise_times(results: Sequence[PhotoResult]) -> list[dict[str, Any]]:
    """Seconds of a fill by mask set and method; ``kept``: how many are of an earlier run."""
    entries = []
    for (masks, method), group in _groups(results).items():
        seconds = [fill.seconds for fill in group.fills if fill.seconds is not None]
        times = (
            # The first fill of a process loads what the method needs: so the median.
            {"median": median(seconds), "mean": float(np.mean(seconds))} if seconds else None
        )
        kept = sum(fill.kept for fill in group.fills)
        entries.append({"masks": masks, "method": method, "seconds": times, "kept": kept})
    return entries


def case_rows(results: Sequence[PhotoResult]) -> list[dict[str, Any]]:
    """One row for each photograph, mask set and method: the figures behind the means."""
    return [
        {
            "photo": result.id,
            "masks": fill.masks,
            "method": fill.method,
            "hole_share": _rounded(fill.hole_share),
            **{name: _rounded(value) for name, value in fill.figures.items()},
            **({"problem": fill.problem} if fill.problem else {}),
        }
        for result in results
        for fill in result.filled
    ]


def cell_sample(photo: str, drawn: Sequence[dict[str, bytes]], fill: CaseResult) -> CellSample:
    """What realism is pooled of. Args: ``drawn``: both draws of the original's cells."""
    return CellSample(
        id=photo,
        first=from_bytes(drawn[0]),
        second=from_bytes(drawn[1]),
        fill=from_bytes(fill.cells),
        outline_step=fill.figures["outline_step"],
        laplacian=fill.figures["laplacian"],
    )


def bootstrap_means(values: Rows, ids: Sequence[str], seed: int) -> Rows:
    """Means of the rows of ``values`` (n x metrics), resampled with replacement.

    Poisson bootstrap (Hanley and MacGibbon 2006): in each resample every photograph comes a
    Poisson(1) number of times, which its id and the seed alone decide. So it does not matter
    how many others there are. Resamples without any are left out.
    """
    counts = bootstrap_weights(ids, seed)
    counts = counts[counts.sum(axis=1) > 0]
    means: Rows = (counts @ values) / counts.sum(axis=1, keepdims=True)
    return means


def _groups(results: Sequence[PhotoResult]) -> dict[tuple[str, str], _Group]:
    groups: dict[tuple[str, str], _Group] = {}
    for result in results:
        for fill in result.filled:
            group = groups.setdefault((fill.masks, fill.method), _Group())
            if fill.problem:
                group.problems[result.id] = fill.problem
                continue
            group.ids.append(result.id)
            group.fills.append(fill)
            group.truths.append(result.inception.get(fill.masks, b""))
            group.cells.append(result.cells.get(fill.masks, ({}, {})))
    return groups


def _entry(masks: str, method: str, group: _Group, seed: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"masks": masks, "method": method, "photographs": len(group.ids)}
    if group.problems:
        entry["problems"] = group.problems
    if not group.fills:
        return entry
    realism = _realism(group, seed)
    if realism is not None:
        entry["realism"] = realism
    names = [name for name in group.fills[0].figures if name not in SPREAD_FIGURES]
    values = np.array([[fill.figures[name] for name in names] for fill in group.fills])
    low, high = np.percentile(bootstrap_means(values, group.ids, seed), (2.5, 97.5), axis=0)
    sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(names))
    statistics = zip(values.mean(axis=0), sd, low, high, strict=True)
    entry["hole_share"] = _rounded(np.mean([fill.hole_share for fill in group.fills]))
    entry["metrics"] = {
        name: dict(zip(("mean", "sd", "low", "high"), map(_rounded, found), strict=True))
        for name, found in zip(names, statistics, strict=True)
    }
    entry["bins"] = _bins(group, names, values)
    entry["worst"] = _worst(group)
    if group.truths[0]:
        entry["set_metrics"] = _set_metrics(group)
    return entry


def _realism(group: _Group, seed: int) -> dict[str, Any] | None:
    """None where the figures that it needs are not among those of the fills."""
    samples = [
        cell_sample(photo, drawn, fill)
        for photo, drawn, fill in zip(group.ids, group.cells, group.fills, strict=True)
        if all(name in fill.figures for name in SPREAD_FIGURES)
    ]
    return _all_rounded(pool_realism(samples, seed=seed).as_dict()) if samples else None


def _bins(group: _Group, names: Sequence[str], values: Rows) -> list[dict[str, Any]]:
    """Of HOLE_BINS equal bins those that hold photographs."""
    which = np.array([hole_bin(fill.hole_share) for fill in group.fills])
    return [
        {
            "from": number / HOLE_BINS,
            "to": (number + 1) / HOLE_BINS,
            "photographs": int((which == number).sum()),
            "metrics": dict(
                zip(names, map(_rounded, values[which == number].mean(axis=0)), strict=True)
            ),
        }
        for number in np.unique(which).tolist()
    ]


def _worst(group: _Group) -> list[dict[str, Any]]:
    ranked = sorted(
        zip(group.ids, group.fills, strict=True),
        # Equal ones by name: the same list in every run.
        key=lambda pair: (-pair[1].figures[WORST_BY], pair[0]),
    )
    return [
        {"photo": photo, **{name: _rounded(value) for name, value in fill.figures.items()}}
        for photo, fill in ranked[:WORST_CASES]
    ]


def _set_metrics(group: _Group) -> dict[str, float]:
    answers, truths = (
        np.stack([np.frombuffer(each, np.float32) for each in features])
        for features in ([fill.inception for fill in group.fills], group.truths)
    )
    found = {
        "fid": frechet_distance(answers, truths),
        **inception_discrimination(answers, truths),
    }
    return {name: _rounded(value) for name, value in found.items()}


def _all_rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _all_rounded(each) for name, each in found.items()}
    return _rounded(found) if isinstance(found, float) else found


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), _DIGITS)
