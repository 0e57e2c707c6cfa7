"""Tables and picture grids: every figure under its heading, every picture in its column."""

import io
from typing import Any

import numpy as np
from PIL import Image

from kintsugi.evaluation.evaluate import CaseResult, PhotoResult
from kintsugi.evaluation.report import draw_grid, format_markdown, format_table
from kintsugi.evaluation.statistics import summarise, summarise_times
from kintsugi.imaging.codec import encode_image

METRICS = {"hole_l1_percent": 12.5, "hole_ssim": 0.25, "known_equal": 1.0}


def evaluated(number: int, share: float = 0.15) -> PhotoResult:
    figures = {**METRICS, "hole_l1_percent": 12.5 + number}
    return PhotoResult(
        f"{number}|x.png",
        (
            CaseResult("thick-64", "ours", share, figures, seconds=0.5, kept=number == 0),
            CaseResult("thick-64", "theirs", share, figures),
        ),
    )


def figures_of(results: list[PhotoResult], **others: Any) -> dict[str, Any]:
    return {
        "photos": "samples",
        "photographs": len(results),
        "held_out_share": None,
        "rejects": {},
        "seed": 0,
        "vgg_encoder": "",
        "figures": summarise(results),
        "times": summarise_times(results),
        **others,
    }


def test_the_table() -> None:
    lines = format_table(figures_of([evaluated(0), evaluated(1)])).splitlines()
    assert lines[0].split("  ")[0] == "masks"
    assert "VGG" not in lines[0]
    assert lines[1].split() == [
        *("thick-64", "ours", "2", "13.00", "+-", "0.71", "0.2500", "+-", "0.0000"),
        *("1.00", "+-", "0.00", "0.500*"),
    ]
    # Nobody timed the other program.
    assert lines[2].split()[-1] == "-"
    # Numbers stand under one another.
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1] == "feature distances not computed: name --encoder or --release"
    named = format_table(figures_of([evaluated(0)], vgg_encoder="random (seed 0)"))
    assert named.splitlines()[-1] == (
        "feature distances, KID, classifier and VGG distance (encoder: random (seed 0))"
    )


def test_realism_stands_first() -> None:
    seen = {"outline_step": 1.25, "laplacian": 0.5, **METRICS}
    result = PhotoResult("a.png", (CaseResult("thick-64", "ours", 0.2, seen),))
    figures = figures_of([result])
    heading, row = format_table(figures).splitlines()[:2]
    assert heading.split()[3:7] == ["outline", "step", "(quartiles)", "Laplacian"]
    assert row.split()[3:7] == ["1.25", "(1.25", "to", "1.25)"]
    assert row.index("0.50 (0.50 to 0.50)") < row.index("12.50 +- 0.00")
    assert "of two draws of the originals" in format_markdown(figures)


def test_the_page() -> None:
    results = [evaluated(0), evaluated(1, 0.25)]
    page = format_markdown(figures_of(results, rejects={"bad.png": "broken"}, held_out_share=0.02))
    assert "2 photographs of `samples`, held out at 0.02; seed 0" in page
    assert "| thick-64 | ours | 2 | 13.00 (12.50 to 13.50) |" in page
    assert "| thick-64 | ours | 10-20 % | 1 | 12.50 | 0.2500 |" in page
    assert "| thick-64 | ours | 1\\|x.png (13.5), 0\\|x.png (12.5) |" in page
    assert "- bad.png: broken" in page
    for table in page.split("\n\n"):
        if table.startswith("|"):
            bars = {line.replace("\\|", "").count("|") for line in table.splitlines()}
            assert len(bars) == 1
    alike = format_markdown(figures_of([evaluated(0), evaluated(1)]))
    assert "By share" not in alike
    assert "Left out" not in alike


def test_a_method_without_any_fill_stays_in_the_table() -> None:
    missing = CaseResult("thick-64", "theirs", 0.2, {}, problem="no picture")
    result = PhotoResult("0.png", (evaluated(0).filled[0], missing))
    table = format_table(figures_of([result]))
    assert table.splitlines()[2].split()[:4] == ["thick-64", "theirs", "0", "-"]
    assert "- thick-64, theirs, 0.png: no picture" in format_markdown(figures_of([result]))


def test_the_grid() -> None:
    def row(*names: str) -> dict[str, bytes]:
        return {
            name: encode_image(np.full((64, 64, 3), 10 * index, np.uint8))
            for index, name in enumerate(names)
        }

    results = [
        PhotoResult("a", pictures={"s": row("input", "mask", "telea", "ns", "truth")}),
        PhotoResult("b", pictures={"s": row("input", "mask", "ns", "truth")}),
        PhotoResult("c"),
    ]
    with Image.open(io.BytesIO(draw_grid(results))) as grid:
        assert grid.size == (5 * 256, 2 * 256 + 18)
        pixels = np.asarray(grid)
    middles = pixels[18 + 128 :: 256, 128::256, 0]
    assert middles.tolist() == [[0, 10, 20, 30, 40], [0, 10, 128, 20, 30]]
    with Image.open(io.BytesIO(draw_grid([PhotoResult("c")]))) as titles:
        assert titles.size == (3 * 256, 18)
