"""Tables of the training benchmark: medians of ratios, shares of the peak, spread checkpoints."""

from typing import Any

import pytest

from kintsugi.benchmarks.train.train_report import checkpoint_ratio, format_report, median_ratio


def steps(workers: int, size: int, batches: str, platform: list[float]) -> dict[str, Any]:
    row = {"workers": workers, "threads": 2, "batch_size": size, "batches": batches}
    times = {"platform": platform, "plain": [2.0, 4.0, 1.0]}
    processors = {"platform_processors": [3.0] * len(platform), "plain_processors": [2.0, 3.0, 3.0]}
    return {**row, **times, **processors}


def variant(precision: str, seconds: list[float]) -> dict[str, Any]:
    row = {"precision": precision, "channels_last": True, "workers": 2, "images": 8}
    return {**row, "seconds": seconds, "peak_bytes": 3 * 2**20, "flops": 4 * 10**12}


def checkpoint(**changes: Any) -> dict[str, Any]:
    cost = {"bytes": 2**21, "save_seconds": 0.5, "publish_seconds": 1.5, "restore_seconds": 2.5}
    row = {"costs": [cost], "configured_interval": 30, "measured_interval": 6}
    return {**row, "without": [1.0, 2.0], "with": [1.5, 3.0], **changes}


def figures(**changes: Any) -> dict[str, Any]:
    config = {
        "stage": "stage1",
        "model": {"size": "tiny"},
        "data": {"crop_px": 128},
        "loop": {"batch_size": 4},
        "compute": {"precision": "float32"},
    }
    return {
        "config": config,
        "device": "cpu",
        "cores": 2,
        "torch": "2",
        "steps": 6,
        "warm_up_steps": 2,
        "rounds": 3,
        "peak_tflops": 0.0,
        "step_times": [
            steps(1, 4, "memory", [2.2, 4.0, 1.3]),
            steps(1, 4, "shards", [4.0, 8.0, 2.0]),
            steps(2, 4, "memory", [2.2, 4.0, 1.3]),
        ],
        "variants": [variant("float32", [4.0]), variant("bfloat16", [2.0])],
        "checkpoint": checkpoint(),
        **changes,
    }


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    # Of the medians it would be 1, and of the sums more.
    assert median_ratio([1, 20, 3], [2, 2, 2]) == 1.5
    assert median_ratio([], [1.0]) is None


def test_a_checkpoints_time_is_spread_over_the_configured_interval() -> None:
    assert checkpoint_ratio(checkpoint()) == pytest.approx(1.1)
    assert checkpoint_ratio(checkpoint(configured_interval=6)) == pytest.approx(1.5)
    assert checkpoint_ratio(checkpoint(**{"with": [], "without": []})) is None


def test_tables_report_ratios_scaling_and_checkpoints() -> None:
    report = format_report(figures())
    assert "| 1 | 4 | in memory | 2.2 | 2 | 1.100 | 1.000 |" in report
    assert "| 1 | 4 | from the shards | 4 | 2 | 2.000 | 1.000 |" in report
    # Two workers with a batch each, as fast as one.
    assert "| 2 | 2 | 4 | 3.64 | 2.000 |" in report
    assert "share this machine's 2 cores" in report
    assert "| 2.00 | 0.5 | 1.5 | 2.5 | 1.5 | 2.25 | 1.100 |" in report
    assert "to which the difference is spread" in report


def test_the_share_of_the_peak_is_of_16_bit_numbers_of_all_workers() -> None:
    report = format_report(figures(peak_tflops=4.0, device="some GPU"))
    assert "| float32 | channels last | 4 | 2.00 | 1.000 | 1 | - | 3 |" in report
    assert "| bfloat16 | channels last | 2 | 4.00 | 2.000 | 2 | 25.0 | 3 |" in report
    assert "share this machine's" not in report


def test_without_ray_the_plain_loop_stands_alone() -> None:
    rows = [steps(1, 4, "memory", [])]
    report = format_report(
        figures(step_times=rows, checkpoint=checkpoint(**{"with": [], "without": []}))
    )
    assert "| 1 | 4 | in memory | - | 2 | - | - |" in report
    assert "Scaling of the plain loop" in report
    assert "| 2.00 | 0.5 | 1.5 | 2.5 | - | - | - |" in report
