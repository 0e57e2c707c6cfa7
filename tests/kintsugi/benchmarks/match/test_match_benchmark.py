"""The match benchmark: inputs, arithmetic, processes of their own, tables and the picture."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.benchmarks.match.inputs import (
    FEATURES_NAME,
    MatchCase,
    coarse_fill,
    enlarge,
    read_array,
    read_photo,
    write_features,
)
from kintsugi.benchmarks.match.match_benchmark import MatchPlan, run_benchmark
from kintsugi.benchmarks.match.match_report import format_report, times_faster
from kintsugi.benchmarks.match.needs import GIB, MIB, available_bytes, match_needs
from kintsugi.benchmarks.match.plot import draw_plot
from kintsugi.benchmarks.match.trial import Task, Trial, run_trial
from kintsugi.benchmarks.match.trial_worker import measure
from kintsugi.errors import ConfigError, StorageError
from kintsugi.models.networks.vgg import Vgg19Relu3


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def row(side: int, hole: int, **methods: dict[str, Any]) -> dict[str, Any]:
    about = {"picture": "reduced from 427 px", "queries": 9, "candidates": 8, "sampled_queries": 7}
    return {"side_px": side, "hole_px": hole, **about, "methods": methods}


def ran(*seconds: float, peak_mib: int = 10) -> dict[str, Any]:
    agreement = {"same_winners": 0.5, "quality": 0.975}
    memory = {"peak_bytes": peak_mib * MIB, "process_bytes": 500 * MIB, "needs_bytes": 99 * MIB}
    return {"seconds": list(seconds), "in_turn": True, "not_run": "", **memory, **agreement}


def refused(reason: str, needs_mib: int = 99) -> dict[str, Any]:
    memory = {"peak_bytes": 0, "process_bytes": 0, "needs_bytes": needs_mib * MIB}
    return {"seconds": [], "in_turn": False, "not_run": reason, **memory}


def figures_of(*matches: dict[str, Any], fills: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    about = {"photo": "samples/china.jpg", "encoder": "random (seed 0)", "threads": 2}
    return {**about, "torch": "2", "matches": list(matches), "fills": list(fills)}


RED, BLUE = (213, 94, 0), (0, 114, 178)


def panels_of(figures: dict[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(draw_plot(figures))) as image:
        return np.asarray(image.convert("RGB"))


def pixels_in(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels.astype(int) - colour).sum(axis=2) < 30).sum())


# Inputs


def test_a_case_has_its_hole_on_whole_cells_in_the_centre() -> None:
    for case in (MatchCase(256, 128), MatchCase(256, 224), MatchCase(72, 36)):
        rows, columns = np.nonzero(case.mask())
        assert (rows.min() % 4, columns.min() % 4) == (0, 0)
        assert case.mask().sum() == case.hole_px**2
        assert abs(rows.min() - (case.side_px - 1 - rows.max())) <= 4
    queries, candidates = MatchCase(256, 128).windows()
    # The table of the literature: 34 x 34 windows touch 32 x 32 cells.
    assert (int(queries.sum()), int(candidates.sum())) == (1156, 2688)


@pytest.mark.parametrize("side", [60, 100, 0])
def test_a_side_that_the_networks_do_not_take_is_refused(side: int) -> None:
    with pytest.raises(ConfigError, match=f"size {side}"):
        MatchCase(side, 32)


def test_a_photograph_is_enlarged_twice_at_most_and_then_mirrored() -> None:
    photo = noise(40, 50)
    for side, words in ((32, "reduced"), (80, "enlarged from 40"), (200, "mirror")):
        pixels, done = enlarge(photo, side)
        assert pixels.shape == (side, side, 3)
        assert words in done
    # 60 px before the tile of 80: what is left of its edge is its mirror image.
    assert np.array_equal(pixels[:, 59 - 10], pixels[:, 60 + 10])


def test_the_hole_is_blurry_and_the_rest_untouched() -> None:
    mask = MatchCase(128, 64).mask()
    photo = noise(128, 128)
    filled = coarse_fill(photo, mask)
    assert np.array_equal(filled[~mask], photo[~mask])
    assert filled[mask].std() < photo[mask].std() / 3


def test_features_are_the_encoders_of_the_coarse_fill(tmp_path: Path) -> None:
    encoder, case = Vgg19Relu3.random(0), MatchCase(64, 32)
    write_features(tmp_path, encoder, noise(64, 64), case)
    image = torch.tensor(coarse_fill(noise(64, 64), case.mask())).permute(2, 0, 1)[None] / 255
    expected = encoder(image).numpy()
    assert np.abs(read_array(tmp_path / FEATURES_NAME) - expected).max() < 1e-4 * expected.max()


def test_a_photograph_comes_from_a_file_or_the_samples(tmp_path: Path) -> None:
    Image.fromarray(noise(30, 40)).save(tmp_path / "one.png")
    assert np.array_equal(read_photo(str(tmp_path / "one.png")), noise(30, 40))
    assert read_photo("samples/china.jpg").shape == (427, 640, 3)
    with pytest.raises(StorageError, match="none"):
        read_photo(str(tmp_path / "none.png"))


# Arithmetic


def test_the_published_form_needs_what_its_score_matrix_needs() -> None:
    # 254 x 254 windows against 47,616 known ones, in float32: 11.4 GiB of scores, twice.
    needs = match_needs("published", MatchCase(1024, 512)).bytes / GIB
    assert 22.9 < needs < 24.5
    assert match_needs("exact", MatchCase(1024, 512)).bytes < GIB


def test_the_plan_leaves_out_holes_that_leave_too_little() -> None:
    sides = [(case.side_px, case.hole_px) for case in MatchPlan(sizes=(512, 64, 256)).cases()]
    assert sides == [(64, 32), (256, 128), (256, 224), (512, 256), (512, 224)]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (MatchPlan(methods=("magic",)), "magic.*published, exact, approximate"),
        (MatchPlan(rounds=0), "0 pairs"),
        (MatchPlan(holes=("third",)), "third"),
        (MatchPlan(sizes=(100,)), "size 100"),
    ],
)
def test_what_cannot_be_planned_is_refused(plan: MatchPlan, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_benchmark(plan)


def test_memory_of_this_machine_is_known() -> None:
    assert 16 * MIB < available_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# Processes of their own


@pytest.mark.slow
def test_a_process_reports_seconds_memory_and_matches(tmp_path: Path) -> None:
    case = MatchCase(128, 64)
    write_features(tmp_path, Vgg19Relu3.random(0), noise(128, 128), case)
    task = Task(str(tmp_path), ("published",), rounds=2, threads=1, keep=True)
    trial = run_trial(task, time_limit=60)
    assert trial.failure == ""
    assert len(trial.seconds["published"]) == 2
    # As the arithmetic says, give or take what libraries hold.
    needs = match_needs("published", case).bytes
    assert needs / 2 < trial.peak_bytes < 3 * needs + 64 * MIB
    # PyTorch alone is so much.
    assert trial.process_bytes > trial.peak_bytes + 64 * MIB
    queries, candidates = case.windows()
    matches = torch.from_numpy(read_array(tmp_path / "published.npy"))
    assert torch.equal(matches >= 0, queries)
    assert candidates.flatten()[matches[queries]].all()


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("echo Traceback >&2; echo 'ValueError: odd' >&2; exit 1", "ValueError: odd"),
        ("kill -KILL $$", "ended by SIGKILL"),
        ("exec sleep 60", "not done after 0 s"),
    ],
)
def test_a_process_that_fails_is_a_result(
    script: str, failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    # Only the last one waits for it; a busy machine takes its time to start the others.
    start = 0.3 if "sleep" in script else 120.0
    monkeypatch.setattr("kintsugi.benchmarks.match.trial.START_SECONDS", start)
    trial = run_trial(Task(str(tmp_path), ("exact",)), time_limit=0.2)
    assert (trial.seconds, trial.failure) == ({}, failure)


@pytest.mark.slow
def test_a_run_measures_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seven processes would take long to start; one is started above.
    monkeypatch.setattr(
        "kintsugi.benchmarks.match.match_benchmark.run_trial",
        lambda task, *, time_limit: measure(task),
    )
    reported: list[str] = []
    plan = MatchPlan(sizes=(128,), holes=("half",), rounds=2, encoder="random", threads=1)
    figures = run_benchmark(plan, reported.append)
    (measured,) = figures["matches"]
    assert all(len(method["seconds"]) == 2 for method in measured["methods"].values())
    assert measured["methods"]["published"]["same_winners"] == 1
    assert measured["methods"]["exact"]["same_winners"] == 1
    assert measured["methods"]["exact"]["quality"] == pytest.approx(1, abs=1e-4)
    assert measured["methods"]["approximate"]["quality"] > 0.9
    assert measured["sampled_queries"] == measured["queries"]
    assert any(line.startswith("128/64: exact: ") for line in reported)
    assert "samples/china.jpg (128 px reduced from 427 px)" in format_report(figures)
    json.dumps(figures)


def test_first_calls_of_processes_are_marked_and_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def alone_only(task: Task, *, time_limit: float) -> Trial:
        return measure(task) if len(task.methods) == 1 else Trial({}, failure="not done")

    monkeypatch.setattr("kintsugi.benchmarks.match.match_benchmark.run_trial", alone_only)
    figures = run_benchmark(MatchPlan(sizes=(64,), holes=("half",), encoder="random", threads=1))
    methods = figures["matches"][0]["methods"]
    assert [len(method["seconds"]) for method in methods.values()] == [1, 1, 1]
    assert times_faster(methods, "exact", "published") is None
    rows = [line for line in format_report(figures).splitlines() if line.startswith("| 64 / 32")]
    assert len(rows) == 3
    assert all(" (first) | - |" in row for row in rows)


@pytest.mark.slow
def test_fills_beyond_patchmatch_are_timed_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def reported(task: Task, *, time_limit: float) -> Trial:
        return Trial({name: [1.0] for name in task.methods}, MIB, 2 * MIB)

    monkeypatch.setattr("kintsugi.benchmarks.match.match_benchmark.run_trial", reported)
    figures = run_benchmark(MatchPlan(sizes=(2048, 4096), holes=(), encoder="random", fill=True))
    ours = ["fill float32", "fill bfloat16"]
    half, large = figures["fills"]
    assert list(half["methods"]) == [*ours, "patchmatch"]
    assert (large["side_px"], large["hole_px"]) == (4096, 1024)
    assert list(large["methods"]) == ours
    assert "| 4096 / 1024 | fill float32 | 1 | - | 1 | 2 |" in format_report(figures).splitlines()


def test_what_needs_more_memory_than_allowed_is_not_run() -> None:
    plan = MatchPlan(
        sizes=(128,), methods=("published",), rounds=1, encoder="random", max_memory=MIB
    )
    (measured,) = run_benchmark(plan)["matches"]
    assert measured["methods"]["published"]["not_run"] == "needs 19 MiB"
    assert measured["methods"]["published"]["seconds"] == []


# Tables and the picture


def test_ratios_are_of_rounds_not_of_medians() -> None:
    methods = {"published": ran(2.0, 40.0, 6.0), "exact": ran(1.0, 2.0, 3.0)}
    assert times_faster(methods, "exact", "published") == 2.0
    assert times_faster({"exact": ran(1.0)}, "exact", "published") is None
    assert times_faster(methods | {"published": refused("")}, "exact", "published") is None


def test_the_table_says_what_was_not_run() -> None:
    report = format_report(
        figures_of(
            row(256, 128, published=ran(3.0), exact=ran(0.1)),
            row(1024, 512, published=refused("needs 25.1 GiB"), exact=ran(2.0)),
            fills=(row(256, 128, fill=ran(0.5, peak_mib=300), patchmatch=ran(1.0)),),
        )
    )
    lines = report.splitlines()
    assert "| 256 / 128 | 9 x 8 | exact | 0.1 | 30.0 | 10 | 50.0 of 7 | 0.975 |" in lines
    assert "| 1024 / 512 | 9 x 8 | published | not run: needs 25.1 GiB | - | - | - | - |" in lines
    assert "| 1024 / 512 | 9 x 8 | exact | 2 | - | 10 | 50.0 of 7 | 0.975 |" in lines
    assert "| 256 / 128 | fill | 0.5 | 2.00 | 300 | 500 |" in lines
    assert "| 256 / 128 | patchmatch | 1 | - | 10 | 500 |" in lines


def test_the_picture_has_a_panel_for_time_and_one_for_memory() -> None:
    figures = figures_of(
        row(256, 128, published=ran(3.0), exact=ran(0.1)),
        row(512, 256, published=refused("needs", needs_mib=4000), exact=ran(0.5)),
    )
    half = panels_of(figures).shape[1] // 2
    for panel in (slice(None, half), slice(half, None)):
        assert pixels_in(panels_of(figures)[:, panel], RED)
        assert pixels_in(panels_of(figures)[:, panel], BLUE)
    # Only the panel of memory has a second point of the published form; run, it is filled.
    memory = pixels_in(panels_of(figures)[:, half:], RED)
    assert memory > pixels_in(panels_of(figures)[:, :half], RED)
    figures["matches"][1]["methods"]["published"] = ran(9.0, peak_mib=4000)
    assert pixels_in(panels_of(figures)[:, half:], RED) > memory


def test_nothing_measured_is_said() -> None:
    with pytest.raises(ConfigError, match="nothing was measured"):
        draw_plot(figures_of(row(256, 128, exact=refused("takes about 900 s", needs_mib=0))))
