"""Figures of the service's benchmark as Markdown; measures nothing."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from kintsugi.benchmarks.markdown_table import markdown_table

MIB = 1024**2
_NONE = "-"


def format_report(figures: Mapping[str, Any]) -> str:
    """What was measured, and a table for each part of it.

    Args:
        figures: As `kintsugi.benchmarks.serve.serve_benchmark.run_benchmark` gives them.
    """
    parts = [
        f"Release {figures['release']} at {figures['url']}, photograph {figures['photo']};"
        f" {figures['cores']} cores, load average at the end {figures['load_average']:.1f}."
        " Seconds count from when a request was due to the end of its answer."
    ]
    if "comparison" in figures:
        parts.append(_comparison(figures["comparison"]))
    parts.append(_loads(figures["loads"]))
    if "overload" in figures:
        parts.append(_overload(figures["overload"]))
    return "\n\n".join(parts)


def _comparison(row: Mapping[str, Any]) -> str:
    ways = row["process_per_second"]
    lines = [
        ("one request, s: service", f"{median(row['service_seconds']):.3f}"),
        ("one request, s: one process", f"{median(row['process_seconds']):.3f}"),
        ("service / one process (median of rounds)", f"{row['times_as_long']:.2f}"),
        (
            "two in flight, images/s: service",
            f"{median(row['service_two_in_flight_per_second']):.2f}",
        ),
        *(
            (f"images/s: one process, {way}", f"{median(each[way] for each in ways):.2f}")
            for way in ways[0]
        ),
        ("service / best of one process (median of rounds)", f"{row['share_of_best']:.2f}"),
        ("the same image", "yes" if row["same_image"] else "no"),
    ]
    rounds = len(row["service_seconds"])
    return markdown_table((f"{_name(row)}, {rounds} rounds in turns", ""), lines)


def _loads(rows: Sequence[Mapping[str, Any]]) -> str:
    heading = ("load", "sent/s", "p50, s", "p95, s", "p99, s", "answers", "MP/s", "most MP/s")
    lines = [
        (
            _name(row),
            f"{row['rate']:.2f}",
            *_times(row),
            _statuses(row),
            f"{row['megapixels_per_second']:.2f}",
            f"{row['capacity_megapixels_per_second']:.2f}",
        )
        for row in rows
    ]
    return markdown_table(heading, lines)


def _overload(row: Mapping[str, Any]) -> str:
    heading = ("overload", "sent/s", "p50, s", "p95, s", "p99, s", "answers", "images/s")
    lines = []
    for name, rate in (("unloaded", 0.2), ("loaded", row["times"])):
        load = row[name]
        lines.append(
            (
                f"{_name(row)}, {rate:g} times {row['capacity_per_second']:.2f}/s",
                f"{rate * row['capacity_per_second']:.2f}",
                *_times(load),
                _statuses(load),
                f"{load['answered_per_second']:.2f}",
            )
        )
    return f"{markdown_table(heading, lines)}\n\n{_verdict(row)}"


def _verdict(row: Mapping[str, Any]) -> str:
    loaded, unloaded = row["loaded"], row["unloaded"]
    without = loaded["statuses"].get("0", 0)
    answered = loaded["statuses"].get("200", 0)
    refused = loaded["requests"] - answered - without
    said = [
        f"{without} of {loaded['requests']} without an answer",
        f"{loaded['refused_with_retry_after']} of {refused} refusals with Retry-After",
    ]
    if loaded["seconds"]["p99"] and unloaded["seconds"]["p99"]:
        ratio = loaded["seconds"]["p99"] / unloaded["seconds"]["p99"]
        said.append(f"p99 of images {ratio:.1f} times the unloaded one")
    if loaded["refused_p99_seconds"] is not None:
        said.append(f"p99 of refusals {loaded['refused_p99_seconds'] * 1000:.0f} ms")
    memory = row["memory_bytes"]
    if memory is None:
        said.append("memory not watched")
    else:
        grown = (
            (memory["highest"] - memory["before"]) / MIB,
            (memory["after"] - memory["before"]) / MIB,
        )
        said.append(f"memory {grown[0]:+.0f} MiB at most, {grown[1]:+.0f} MiB afterwards")
    said.append(f"sent at most {loaded['sent_late_p99_seconds'] * 1000:.0f} ms late (p99)")
    return "; ".join(said) + "."


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['side_px']} px, {row['hole_share']:.0%} hole"


def _times(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        _NONE if seconds is None else f"{seconds:.2f}" for seconds in row["seconds"].values()
    )


def _statuses(row: Mapping[str, Any]) -> str:
    names = {"0": "none"}
    ordered = sorted(row["statuses"].items())
    return ", ".join(f"{names.get(status, status)}: {count}" for status, count in ordered)
