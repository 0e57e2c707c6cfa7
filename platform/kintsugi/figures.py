"""Figures of an evaluation as a table, as JSON and as a picture grid; measures nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from kintsugi.evaluation import Evaluated, Filled
from kintsugi.images import encode_image
from kintsugi.methods import Pixels

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
    "laplacian_ratio": Column("Laplacian", 3),
    "vgg_distance": Column("VGG distance", 4),
    "known_equal": Column("known equal", 2),
}


def summarise(results: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Mean and standard deviation (n - 1) of every metric by mask set and method.

    All but ``seconds`` is the same in every run.
    """
    groups: dict[tuple[str, str], list[Filled]] = {}
    for result in results:
        for filled in result.filled:
            for method in filled.figures:
                groups.setdefault((filled.mask_set, method), []).append(filled)
    return [
        {
            "masks": mask_set,
            "method": method,
            "photographs": len(group),
            "hole_share": _mean(filled.hole_share for filled in group)["mean"],
            "metrics": {
                name: _mean(filled.figures[method][name] for filled in group)
                for name in group[0].figures[method]
            },
            "seconds": _mean(filled.seconds[method] for filled in group)["mean"],
        }
        for (mask_set, method), group in groups.items()
    ]


def format_table(summary: Sequence[dict[str, Any]], vgg_encoder: str) -> str:
    """Plain text, one line for each mask set and method, mean +- standard deviation.

    The last line names the encoder of the VGG distance: random weights mean little.
    """
    shown = [name for name in COLUMNS if any(name in row["metrics"] for row in summary)]
    heading = ["masks", "method", "n", *(COLUMNS[name].heading for name in shown), "s/photo"]
    lines = [heading]
    for row in summary:
        metrics = [_plus_minus(row["metrics"][name], COLUMNS[name].decimals) for name in shown]
        lines.append(
            [
                row["masks"],
                row["method"],
                str(row["photographs"]),
                *metrics,
                f"{row['seconds']:.3f}",
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    note = (
        f"(encoder: {vgg_encoder})" if vgg_encoder else "not computed: name --encoder or --release"
    )
    # Words to the left, numbers to the right.
    table = "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return f"{table}\nVGG distance {note}"


def draw_grid(results: Sequence[Evaluated]) -> bytes:
    """A PNG with a row for each photograph and mask set that kept its pictures, titled columns.

    Raises: ValueError when none did.
    """
    rows = [filled.pictures for result in results for filled in result.filled if filled.pictures]
    if not rows:
        raise ValueError("no photograph kept its pictures: there is nothing to draw")
    title = Image.new("RGB", (_CELL_PX * len(rows[0]), _TITLE_PX), "white")
    draw = ImageDraw.Draw(title)
    for index, name in enumerate(rows[0]):
        draw.text((index * _CELL_PX + 4, 3), name, fill="black")
    lines = [np.hstack([_cell(picture) for picture in row.values()]) for row in rows]
    return encode_image(np.vstack([np.asarray(title), *lines]))


def _cell(picture: Pixels) -> Pixels:
    resized: Pixels = np.asarray(
        Image.fromarray(picture).resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
    )
    return resized


def _mean(values: Any) -> dict[str, float]:
    numbers = np.fromiter(values, np.float64)
    deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
    return {"mean": float(numbers.mean()), "sd": deviation}


def _plus_minus(figure: dict[str, float], decimals: int) -> str:
    return f"{figure['mean']:.{decimals}f} +- {figure['sd']:.{decimals}f}"
