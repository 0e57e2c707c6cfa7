"""An ablation's figures as a Markdown page that says how little they were made with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kintsugi.evaluation.realism.table import realism_columns
from kintsugi.evaluation.report import COLUMNS, markdown_table, vgg_note


def format_ablation(ablation: Mapping[str, Any]) -> str:
    """The page.

    Args: ``ablation``: as `kintsugi.evaluation.ablations.ablation.Ablation.to_dict` gives it.
    """
    figures = ablation["evaluation"]
    variants = {each["name"]: each for each in ablation["variants"]}
    parts = ["# Ablation", _made_with(ablation)]
    for masks in figures["masks"]:
        rows = [row for row in figures["figures"] if row["masks"] == masks]
        if any(each["root"] for each in variants.values()):
            parts += [f"## {masks}, over the seeds", markdown_table(_seed_lines(rows, variants))]
        parts += [f"## {masks}", markdown_table(_lines(rows, variants, ablation["runs"]))]
    return "\n\n".join(parts) + "\n"


def _made_with(ablation: Mapping[str, Any]) -> str:
    figures = ablation["evaluation"]
    configs = [run["config"] for run in ablation["runs"].values()]
    sizes, crops, batches, shards, encoders = (
        _all(config[section][key] if section else config[key] for config in configs)
        for section, key in (
            ("model", "size"),
            ("data", "crop_px"),
            ("loop", "batch_size"),
            ("data", "shards"),
            (None, "encoder"),
        )
    )
    steps = ", ".join(
        f"{stage} {_all(run['steps'] for run in runs)}"
        for stage, runs in _by_stage(ablation["runs"]).items()
    )
    held_out = figures["held_out_share"]
    of = f", held out at {held_out}" if held_out is not None else ""
    return (
        f"Networks of size {sizes}, encoder {encoders}; steps of training: {steps}, each with"
        f" {batches} photographs a worker, crops of {crops} px, of `{shards}`."
        f" {figures['photographs']} photographs of `{figures['photos']}`{of} are filled; seed"
        f" {figures['seed']}. Means, in brackets the 95 % interval (bootstrap over photographs);"
        f" {vgg_note(figures['vgg_encoder'])}. Figures of other sizes, steps or photographs do"
        " not compare with these."
    )


def _lines(
    rows: list[dict[str, Any]], variants: Mapping[str, Any], runs: Mapping[str, Any]
) -> list[list[str]]:
    shown = [name for name in COLUMNS if any(name in row.get("metrics", ()) for row in rows)]
    real, seen = realism_columns(rows)
    headings = [*real, *(COLUMNS[name].heading for name in shown)]
    lines = [["variant", "what differs", "steps", *headings]]
    for row, first in zip(rows, seen, strict=True):
        variant = variants.get(row["method"])
        cells = ["not ours", "-"]
        if variant is not None:
            used = dict.fromkeys(variant["runs"].values())
            if variant["part"] == "coarse":
                used = {variant["runs"]["stage1"]: None}
            cells = [_difference(variant), " + ".join(str(runs[name]["steps"]) for name in used)]
        cells += first
        for name in shown:
            digits = COLUMNS[name].decimals
            found = row.get("metrics", {}).get(name)
            cells.append(
                "-"
                if found is None
                else f"{found['mean']:.{digits}f}"
                f" ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
            )
        lines.append([row["method"], *cells])
    return lines


def _seed_lines(rows: Sequence[Mapping[str, Any]], variants: Mapping[str, Any]) -> list[list[str]]:
    """A line for each variant: the mean of its seeds' figures, and the least and the most."""
    by_root: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        root = variants.get(row["method"], {}).get("root") or row["method"]
        by_root.setdefault(root, []).append(_figures_of(row))
    names = list(dict.fromkeys(name for each in by_root.values() for name in each[0]))
    lines = [["variant", "seeds", *names]]
    for root, seeds in by_root.items():
        cells = []
        for name in names:
            values = [each[name] for each in seeds if name in each]
            cells.append(_mean_and_range(values) if values else "-")
        lines.append([root, str(len(seeds)), *cells])
    return lines


def _figures_of(row: Mapping[str, Any]) -> dict[str, float]:
    """By heading, realism first; empty where nothing was filled."""
    found: dict[str, float] = {}
    if realism := row.get("realism"):
        layers = realism["layers"]
        found |= {f"distance {name}": layer["distance"] for name, layer in layers.items()}
        for heading, key in (("KID", "kid"), ("classifier error", "error")):
            found |= {
                f"{heading} {name}": layer[key]
                for name, layer in layers.items()
                if layer[key] is not None
            }
        found["outline step"] = realism["outline_step"]["median"]
        found["Laplacian"] = realism["laplacian"]["median"]
    metrics = row.get("metrics", {})
    return found | {
        column.heading: metrics[name]["mean"] for name, column in COLUMNS.items() if name in metrics
    }


def _mean_and_range(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def _difference(variant: Mapping[str, Any]) -> str:
    """In words where the plan has some, else as it is set."""
    settings = [*variant["set"], *variant["stage1"], *variant["stage2"]]
    settings += [f"{name}={value}" for name, value in variant["matching"].items()]
    return variant["about"] or ", ".join(settings) or "-"


def _by_stage(runs: Mapping[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for run in runs.values():
        found.setdefault(run["config"]["stage"], []).append(run)
    return found


def _all(values: Any) -> str:
    """Each value once."""
    return ", ".join(dict.fromkeys(str(value) for value in values))
