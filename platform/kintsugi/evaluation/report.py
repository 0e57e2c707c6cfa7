"""Figures of an evaluation as a table, as Markdown and as a picture grid; measures nothing."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from kintsugi.evaluation.evaluate import PhotoResult
from kintsugi.evaluation.realism.table import realism_columns
from kintsugi.imaging.arrays import Pixels
from kintsugi.imaging.codec import encode_image

# Side of a picture in the grid and height of a line of titles, in pixels.
_CELL_PX, _TITLE_PX = 256, 18


class Column(NamedTuple):
    """A metric in the table: heading and number of decimals."""

    heading: str
    decimals: int


COLUMNS = {
    "hole_l1_percent": Column("hole L1 %", 2),
    "hole_psnr_db": Column("hole PSNR dB", 2),
    "ssim": Column("SSIM", 4),
    "hole_ssim": Column("hole SSIM", 4),
    "vgg_distance": Column("VGG distance", 4),
    "lpips": Column("LPIPS", 4),
    "known_equal": Column("known equal", 2),
}
SET_COLUMNS = {
    "fid": Column("FID", 2),
    "u_ids": Column("U-IDS", 4),
    "p_ids": Column("P-IDS", 4),
}


def format_table(figures: dict[str, Any]) -> str:
    """Plain text, one line for each mask set and method, mean +- standard deviation.

    Realism first. The last line names the encoder: random weights mean little.

    Args: ``figures``: as `kintsugi.evaluation.comparison.compare` makes them.
    """
    lines = _lines(figures, "{mean:.{digits}f} +- {sd:.{digits}f}")
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    # Words to the left, numbers to the right.
    table = "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return f"{table}\n{vgg_note(figures['vgg_encoder'])}"


def format_markdown(figures: dict[str, Any]) -> str:
    """A page: what was compared, the means with their intervals, bins, worst cases, gaps.

    Args: ``figures``: as `kintsugi.evaluation.comparison.compare` makes them.
    """
    lines = _lines(figures, "{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
    held_out = figures["held_out_share"]
    of = f", held out at {held_out}" if held_out is not None else ""
    parts = [
        "# Evaluation",
        f"{figures['photographs']} photographs of `{figures['photos']}`{of}; seed"
        f" {figures['seed']}.{_written_masks(figures)} Of the composed 8-bit image; means with"
        " 95 % intervals (bootstrap over photographs). "
        + _realism_note(figures["figures"])
        + vgg_note(figures["vgg_encoder"])
        + ".",
        markdown_table(lines),
    ]
    bins = _bin_lines(figures["figures"])
    if len(bins) > 1:
        parts += ["## By share of the hole", markdown_table(bins)]
    parts += ["## Worst cases by L1 in the hole", markdown_table(_worst_lines(figures["figures"]))]
    problems = _problem_lines(figures)
    if problems:
        parts += ["## Left out", "\n".join(problems)]
    return "\n\n".join(parts) + "\n"


def draw_grid(results: Sequence[PhotoResult]) -> bytes:
    """A PNG with a row for each photograph and mask set that kept its pictures, titled columns.

    Columns are input, mask, every method and truth; where a method has no fill it is grey.
    When none kept its pictures, as they could not be read, there are titles only.
    """
    rows = [row for result in results for row in result.pictures.values()]
    # Input and mask stand first and the truth last in each; a method may be missing in some.
    methods = dict.fromkeys(name for row in rows for name in list(row)[2:-1])
    names = ["input", "mask", *methods, "truth"]
    title = Image.new("RGB", (_CELL_PX * len(names), _TITLE_PX), "white")
    draw = ImageDraw.Draw(title)
    for index, name in enumerate(names):
        draw.text((index * _CELL_PX + 4, 3), name, fill="black")
    lines = [np.hstack([_cell(row.get(name)) for name in names]) for row in rows]
    return encode_image(np.vstack([np.asarray(title), *lines]))


def _lines(figures: dict[str, Any], shape: str) -> list[list[str]]:
    """Heading and one line for each entry; ``shape`` formats the statistics of a metric."""
    entries = figures["figures"]
    shown = [name for name in COLUMNS if any(name in row.get("metrics", ()) for row in entries)]
    of_sets = [
        name for name in SET_COLUMNS if any(name in row.get("set_metrics", ()) for row in entries)
    ]
    headings = [COLUMNS[name].heading for name in shown]
    headings += [SET_COLUMNS[name].heading for name in of_sets]
    # What the eye sees stands first, likeness to what was there after it.
    real, rows = realism_columns(entries)
    lines = [["masks", "method", "n", *real, *headings, "s/photo"]]
    for entry, times, seen in zip(entries, figures["times"], rows, strict=True):
        metrics = entry.get("metrics", {})
        cells = [
            shape.format(digits=COLUMNS[name].decimals, **metrics[name]) if name in metrics else "-"
            for name in shown
        ]
        for name in of_sets:
            value = entry.get("set_metrics", {}).get(name)
            cells.append("-" if value is None else f"{value:.{SET_COLUMNS[name].decimals}f}")
        seconds = "-" if times["seconds"] is None else f"{times['seconds']['median']:.3f}"
        # Not the time of this run.
        seconds += "*" if times["kept"] else ""
        start = [entry["masks"], entry["method"], str(entry["photographs"])]
        lines.append([*start, *seen, *cells, seconds])
    return lines


def _bin_lines(entries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Only of sets whose holes differ in size."""
    lines = [["masks", "method", "hole", "n", "hole L1 %", "hole SSIM"]]
    for entry in entries:
        bins = entry.get("bins", [])
        for each in bins if len(bins) > 1 else []:
            found = each["metrics"]
            share = f"{100 * each['from']:.0f}-{100 * each['to']:.0f} %"
            numbers = [f"{found['hole_l1_percent']:.2f}", f"{found['hole_ssim']:.4f}"]
            lines.append(
                [entry["masks"], entry["method"], share, str(each["photographs"]), *numbers]
            )
    return lines


def _worst_lines(entries: Sequence[dict[str, Any]]) -> list[list[str]]:
    lines = [["masks", "method", "photographs (hole L1 %)"]]
    for entry in entries:
        worst = [f"{row['photo']} ({row['hole_l1_percent']:.1f})" for row in entry.get("worst", [])]
        lines.append([entry["masks"], entry["method"], ", ".join(worst)])
    return lines


def _problem_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"- {photo}: {why}" for photo, why in figures["rejects"].items()]
    for entry in figures["figures"]:
        for photo, why in entry.get("problems", {}).items():
            lines.append(f"- {entry['masks']}, {entry['method']}, {photo}: {why}")
    return lines


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A heading and rows."""
    heading, *rows = ["| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines]
    rule = "|" + " --- |" * len(lines[0])
    return "\n".join([heading, rule, *rows])


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _written_masks(figures: dict[str, Any]) -> str:
    """Which masks were read: they are of another seed than the rest, perhaps."""
    return "".join(
        f" Masks {name}: `{about['uri']}`, seed {about['seed']}."
        for name, about in figures.get("masks", {}).items()
        if "uri" in about
    )


def vgg_note(vgg_encoder: str) -> str:
    """Whose features are compared: random weights mean little."""
    if not vgg_encoder:
        return "feature distances not computed: name --encoder or --release"
    return f"feature distances, KID, classifier and VGG distance (encoder: {vgg_encoder})"


def _realism_note(entries: Sequence[dict[str, Any]]) -> str:
    """How to read the columns that stand first."""
    if not any("realism" in entry for entry in entries):
        return ""
    return (
        "Distances (Frechet, in units of the originals' deviation, divided by the channels), KID"
        " and the held-out error of a linear classifier (0.5: it finds no difference) compare the"
        " cells inside the holes with the originals', the floor is that of two draws of the"
        " originals; outline step and Laplacian energy are ratios to the originals', 1 is as large."
        " Then likeness to what was there, which prefers blur. "
    )


def _cell(picture: bytes | None) -> Pixels:
    if picture is None:
        return np.full((_CELL_PX, _CELL_PX, 3), 128, np.uint8)
    with Image.open(io.BytesIO(picture)) as image:
        resized: Pixels = np.asarray(image.resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS))
    return resized
