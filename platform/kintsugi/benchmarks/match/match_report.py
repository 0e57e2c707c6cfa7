"""Figures of the match benchmark as Markdown; measures nothing."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from kintsugi.benchmarks.markdown_table import markdown_table
from kintsugi.benchmarks.match.needs import MIB
from kintsugi.benchmarks.match.trial import PATCHMATCH, PUBLISHED

_NONE = "-"


def format_report(figures: Mapping[str, Any]) -> str:
    """What was measured, a table of matches and one of fills, in Markdown.

    Args:
        figures: As `kintsugi.benchmarks.match.match_benchmark.run_benchmark` gives them.
    """
    parts = [_about(figures)]
    if figures["matches"]:
        parts.append(_match_table(figures["matches"]))
    if figures["fills"]:
        parts.append(_fill_table(figures["fills"]))
    return "\n\n".join(parts)


def times_faster(methods: Mapping[str, Mapping[str, Any]], name: str, than: str) -> float | None:
    """Median over the rounds of seconds of ``than`` / seconds of ``name``.

    Returns: None where the two have not taken turns.
    """
    if not all(each in methods and methods[each]["in_turn"] for each in (name, than)):
        return None
    pairs = zip(methods[than]["seconds"], methods[name]["seconds"], strict=False)
    ratios = [slow / fast for slow, fast in pairs]
    return median(ratios) if ratios else None


def _about(figures: Mapping[str, Any]) -> str:
    rows = [*figures["matches"], *figures["fills"]]
    pictures = {row["side_px"]: row["picture"] for row in rows}
    sizes = "; ".join(f"{side} px {picture}" for side, picture in sorted(pictures.items()))
    return (
        f"{figures['photo']} ({sizes}), holes in the centre, the photograph reduced 16 times in"
        f" place of a coarse fill; encoder {figures['encoder']}; {figures['threads']} threads,"
        f" PyTorch {figures['torch']}. Seconds: median of rounds in which the methods take turns;"
        " (first) marks the first call of a fresh process, which is in no ratio."
        " Memory: highest resident memory of a fresh process above its inputs, and whole process"
        " with weights and libraries. Best matches:"
        " share of queries, all or a sample, whose match is the best one or as similar."
        " Quality: mean similarity on a scale from random known windows (0) to the best (1)."
    )


def _match_table(rows: Sequence[Mapping[str, Any]]) -> str:
    heading = (
        "photo / hole, px",
        "queries x candidates",
        "match",
        "seconds",
        "times as fast as published",
        "memory, MiB",
        "best matches, %",
        "quality",
    )
    lines = []
    for row in rows:
        for name, method in row["methods"].items():
            start = (
                f"{row['side_px']} / {row['hole_px']}",
                f"{row['queries']} x {row['candidates']}",
                name,
            )
            lines.append((*start, *_match_cells(row, name, method)))
    return markdown_table(heading, lines, words=3)


def _match_cells(row: Mapping[str, Any], name: str, method: Mapping[str, Any]) -> tuple[str, ...]:
    if not method["seconds"]:
        return (_seconds(method), *(_NONE,) * 4)
    faster = None if name == PUBLISHED else times_faster(row["methods"], name, PUBLISHED)
    return (
        _seconds(method),
        _NONE if faster is None else f"{faster:.1f}",
        _mib(method),
        f"{100 * method['same_winners']:.1f} of {row['sampled_queries']}",
        f"{method['quality']:.3f}",
    )


def _fill_table(rows: Sequence[Mapping[str, Any]]) -> str:
    heading = (
        "photo / hole, px",
        "fill",
        "seconds",
        "times as fast as PatchMatch",
        "memory, MiB",
        "whole process, MiB",
    )
    lines = []
    for row in rows:
        for name, method in row["methods"].items():
            faster = None if name == PATCHMATCH else times_faster(row["methods"], name, PATCHMATCH)
            ratio = _NONE if faster is None else f"{faster:.2f}"
            where = f"{row['side_px']} / {row['hole_px']}"
            memory = (_mib(method, key) for key in ("peak_bytes", "process_bytes"))
            lines.append((where, name, _seconds(method), ratio, *memory))
    return markdown_table(heading, lines, words=2)


def _seconds(method: Mapping[str, Any]) -> str:
    if not method["seconds"]:
        return f"not run: {method['not_run']}"
    return f"{median(method['seconds']):.3g}" + ("" if method["in_turn"] else " (first)")


def _mib(method: Mapping[str, Any], key: str = "peak_bytes") -> str:
    return f"{method[key] / MIB:.0f}" if method[key] else _NONE
