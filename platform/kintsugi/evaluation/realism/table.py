"""Realism as columns of a table: what stands first in every report; measures nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

# Decimals of distances and errors, and of ratios.
_DISTANCE, _RATIO = 3, 2
# What a person reads; the JSON has every layer's.
_KERNEL_LAYER = "relu3_1"
# A cell of a row that has no such figure.
_NONE = "-"


def realism_columns(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of every entry; a column that no entry has is left out.

    Args: ``entries``: as `kintsugi.evaluation.statistics.summarise` makes them.
    """
    rows = [_row(entry.get("realism")) for entry in entries]
    headings = list(dict.fromkeys(name for row in rows for name in row))
    return headings, [[row.get(name, _NONE) for name in headings] for row in rows]


def _row(realism: Mapping[str, Any] | None) -> dict[str, str]:
    if realism is None:
        return {}
    cells = {}
    for name, layer in realism["layers"].items():
        cells[f"distance {name} (floor)"] = (
            f"{layer['distance']:.{_DISTANCE}f} ({layer['floor']:.{_DISTANCE}f})"
        )
    kernel = realism["layers"].get(_KERNEL_LAYER, {})
    if kernel.get("kid") is not None:
        kid, low, high = (f"{kernel[key]:.{_DISTANCE}f}" for key in ("kid", "kid_low", "kid_high"))
        cells["KID (95 %)"] = f"{kid} ({low} to {high})"
    if kernel.get("error") is not None:
        cells["classifier error"] = f"{kernel['error']:.{_DISTANCE}f}"
    for heading, key in (("outline step", "outline_step"), ("Laplacian", "laplacian")):
        low, middle, high = (f"{realism[key][at]:.{_RATIO}f}" for at in ("low", "median", "high"))
        cells[f"{heading} (quartiles)"] = f"{middle} ({low} to {high})"
    return cells
