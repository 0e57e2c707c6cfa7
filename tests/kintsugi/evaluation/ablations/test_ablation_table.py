"""The page of an ablation: seeds of one variant are put together, realism first."""

from typing import Any

from kintsugi.evaluation.ablations.ablation_table import format_ablation


def row(method: str, distance: float, l1: float) -> dict[str, Any]:
    layer = {"distance": distance, "floor": 0.1, "kid": distance / 2, "error": 0.25}
    layer |= {"kid_low": 0.0, "kid_high": 1.0}
    spread = {"median": 0.5, "low": 0.25, "high": 0.75}
    return {
        "masks": "random-128",
        "method": method,
        "realism": {"layers": {"relu3_1": layer}, "outline_step": spread, "laplacian": spread},
        "metrics": {"hole_l1_percent": {"mean": l1, "low": l1, "high": l1}},
    }


def ablation(seeds: tuple[int, ...]) -> dict[str, Any]:
    names = [f"base.{seed}" for seed in seeds] or ["base"]
    variant = {"about": "", "part": "whole", "set": (), "stage1": (), "stage2": (), "matching": {}}
    runs = {"stage1": "one", "stage2": "two"}
    config = {
        "stage": "stage1",
        "encoder": "release",
        "model": {"size": "tiny"},
        "data": {"crop_px": 128, "shards": "shards"},
        "loop": {"batch_size": 2},
    }
    return {
        "variants": [
            {**variant, "name": name, "root": "base" if seeds else "", "runs": runs}
            for name in names
        ],
        "runs": {name: {"steps": 200, "config": config} for name in runs.values()},
        "evaluation": {
            "masks": {"random-128": {}},
            "figures": [
                *(row(name, 0.2 + number, 10 + number) for number, name in enumerate(names)),
                row("telea", 4.0, 9.0),
            ],
            "held_out_share": None,
            "photographs": 2,
            "photos": "test",
            "seed": 0,
            "vgg_encoder": "random",
        },
    }


def test_the_seeds_of_a_variant_are_one_line_with_the_least_and_the_most() -> None:
    page = format_ablation(ablation((0, 1, 2)))
    lines = page.partition("## random-128, over the seeds\n\n")[2].splitlines()
    assert lines[0].startswith("| variant | seeds | distance relu3_1 | KID relu3_1 |")
    assert lines[2].startswith("| base | 3 | 1.200 (0.200 to 2.200) | 0.600 (0.100 to 1.100) |")
    assert lines[2].endswith("| 11.000 (10.000 to 12.000) |")
    assert lines[3].startswith("| telea | 1 | 4.000 | 2.000 |")
    # Each seed's own lines stay below.
    assert "| base.2 |" in page


def test_a_plan_without_seeds_has_one_table() -> None:
    assert "over the seeds" not in format_ablation(ablation(()))
