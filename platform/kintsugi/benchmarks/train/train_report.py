"""Figures of the training benchmark as Markdown; measures nothing."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from kintsugi.benchmarks.markdown_table import markdown_table

_MIB = 2**20
_NONE = "-"
_WHERE = {
    "memory": "in memory",
    "shared": "in memory, the photographs of the first row shared out",
    "shards": "from the shards",
}


def format_report(figures: Mapping[str, Any]) -> str:
    """What was measured, and tables of steps, scaling, formats and checkpoints, in Markdown.

    Args:
        figures: As `kintsugi.benchmarks.train.train_benchmark.run_benchmark` gives them.
    """
    return "\n\n".join(
        [
            _about(figures),
            _step_table(figures["step_times"]),
            _scaling(figures),
            _variant_table(figures),
            _checkpoint_table(figures["checkpoint"]),
        ]
    )


def median_ratio(seconds: Sequence[float], than: Sequence[float]) -> float | None:
    """Median over the rounds of ``seconds`` / ``than``. Returns: None without rounds."""
    ratios = [one / other for one, other in zip(seconds, than, strict=False)]
    return median(ratios) if ratios else None


def checkpoint_ratio(checkpoint: Mapping[str, Any]) -> float | None:
    """Mean step time with checkpoints at the configured interval / without any.

    What one takes is spread over that interval; where a measured stretch is as long, this is
    the ratio as it was measured. Returns: None where it was not measured.
    """
    measured = median_ratio(checkpoint["with"], checkpoint["without"])
    if measured is None:
        return None
    share: float = checkpoint["measured_interval"] / checkpoint["configured_interval"]
    return 1 + (measured - 1) * share


def _about(figures: Mapping[str, Any]) -> str:
    config, loop = figures["config"], figures["config"]["loop"]
    compute = config["compute"]
    return (
        f"{config['stage']}, size {config['model']['size']}, crops of"
        f" {config['data']['crop_px']} px, {loop['batch_size']} photographs per worker,"
        f" {compute['precision']}; {figures['device']}, {figures['cores']} cores, PyTorch"
        f" {figures['torch']}. {figures['rounds']} rounds in which platform (TorchTrainer, with"
        " the loop of a run) and plain (torchrun and DDP, the same step, no reporting) take turns"
        f" in fresh processes; {figures['steps']} timed steps after {figures['warm_up_steps']}"
        " each. Seconds are medians of the rounds, ratios medians of the ratios within a round."
    )


def _step_table(rows: Sequence[Mapping[str, Any]]) -> str:
    heading = (
        *("workers", "photographs each", "batches", "platform, s", "plain, s", "ratio"),
        "ratio of processor time",
    )
    lines = [
        (
            str(row["workers"]),
            str(row["batch_size"]),
            _WHERE[row["batches"]],
            _seconds(row["platform"]),
            _seconds(row["plain"]),
            _ratio(median_ratio(row["platform"], row["plain"])),
            _ratio(median_ratio(row["platform_processors"], row["plain_processors"])),
        )
        for row in rows
    ]
    aim = (
        "One step. Aim: at most 1.03 times the plain loop's with batches in memory. Processor time"
        " is the first worker's; on a machine that others share it says more than seconds."
    )
    return f"{aim}\n\n{markdown_table(heading, lines, words=3)}"


def _scaling(figures: Mapping[str, Any]) -> str:
    """Images per second by the number of workers, of the platform where it was measured."""
    heading = ("workers", "threads each", "photographs each", "images/s", "times the first row's")
    rows = [row for row in figures["step_times"] if row["batches"] != "shards"]
    loop = "platform" if rows[0]["platform"] else "plain"
    speeds = [
        [row["workers"] * row["batch_size"] / seconds for seconds in row[loop]] for row in rows
    ]
    lines = [
        (
            str(row["workers"]),
            str(row["threads"]),
            str(row["batch_size"]),
            f"{median(speed):.2f}",
            _ratio(median_ratio(speed, speeds[0])),
        )
        for row, speed in zip(rows, speeds, strict=True)
    ]
    text = f"Scaling of the {loop} loop, batches in memory."
    if figures["device"] == "cpu":
        text += (
            f" All workers share this machine's {figures['cores']} cores, as threads each: more"
            " workers bring no more hardware, and gain only what one left idle."
        )
    return f"{text}\n\n{markdown_table(heading, lines, words=1)}"


def _variant_table(figures: Mapping[str, Any]) -> str:
    heading = (
        "numbers",
        "memory layout",
        "step, s",
        "images/s",
        "times the first row's",
        "TFLOP/s",
        "share of peak, %",
        "GPU memory, MiB",
    )
    first = figures["variants"][0]["seconds"]
    lines = [
        _variant_line(row, first=first, peak=figures["peak_tflops"]) for row in figures["variants"]
    ]
    flops = figures["variants"][0]["flops"]
    text = (
        "Number formats and memory layouts in the plain loop, batches in memory. A step of all"
        f" workers is {flops / 1e12:.4g} TFLOP, products and convolutions there and back."
    )
    if figures["peak_tflops"]:
        text += f" Peak of 16-bit numbers: {figures['peak_tflops']:g} TFLOP/s per worker, as given."
    return f"{text}\n\n{markdown_table(heading, lines, words=2)}"


def _variant_line(
    row: Mapping[str, Any], *, first: Sequence[float], peak: float
) -> tuple[str, ...]:
    seconds = median(row["seconds"])
    tflops = row["flops"] / seconds / 1e12
    known = peak and row["precision"] != "float32"
    return (
        row["precision"],
        "channels last" if row["channels_last"] else "channels first",
        _seconds(row["seconds"]),
        f"{row['images'] / seconds:.2f}",
        _ratio(median_ratio(first, row["seconds"])),
        f"{tflops:.3g}",
        f"{100 * tflops / (row['workers'] * peak):.1f}" if known else _NONE,
        f"{row['peak_bytes'] / _MIB:.0f}" if row["peak_bytes"] else _NONE,
    )


def _checkpoint_table(checkpoint: Mapping[str, Any]) -> str:
    heading = (
        "MiB",
        "write, s",
        "publish, s",
        "restore, s",
        "step without, s",
        "step with, s",
        f"ratio at every {checkpoint['configured_interval']} steps",
    )
    costs = checkpoint["costs"]
    names = ("save_seconds", "publish_seconds", "restore_seconds")
    line = (
        f"{costs[0]['bytes'] / _MIB:.2f}",
        *(_seconds([cost[name] for cost in costs]) for name in names),
        _seconds(checkpoint["without"]),
        _seconds(checkpoint["with"]),
        _ratio(checkpoint_ratio(checkpoint)),
    )
    text = (
        "A checkpoint, and mean steps of whole runs on the platform without any and with one every"
        f" {checkpoint['measured_interval']:g} steps. Aim: at most 1.05 times at the configured"
        f" interval of {checkpoint['configured_interval']}"
    )
    scaled = checkpoint["measured_interval"] != checkpoint["configured_interval"]
    text += ", to which the difference is spread." if scaled else "."
    return f"{text}\n\n{markdown_table(heading, [line], words=0)}"


def _seconds(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.3g}" if seconds else _NONE


def _ratio(ratio: float | None) -> str:
    return _NONE if ratio is None else f"{ratio:.3f}"
