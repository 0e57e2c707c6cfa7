"""What a process of the match benchmark runs: loads inputs, times methods, watches its memory.

`trial.py` starts it as ``python -m kintsugi.benchmarks.match.trial_worker TASK``.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from kintsugi.benchmarks.match.inputs import (
    FEATURES_NAME,
    IMAGE_NAME,
    MASK_NAME,
    read_array,
    write_array,
)
from kintsugi.benchmarks.match.trial import (
    MATCHES,
    OURS,
    PATCHMATCH,
    PUBLISHED,
    RESULT,
    Task,
    Trial,
)
from kintsugi.imaging.arrays import Pixels
from kintsugi.inference.methods import Method, ReleaseMethod, open_release, patchmatch
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.match.patch_swap import match_patches, paste_patches
from kintsugi.models.match.search import Method as Search
from kintsugi.models.paper import patch_swap as published_swap
from kintsugi.models.pixels import mask_to_tensor
from kintsugi.runs.run import open_encoder

# A first round that is shorter warms the process up and does not count.
WARM_UP_SECONDS = 10.0

# What is timed; a match gives its indices (1 h-2 w-2) back, a fill its pixels.
Call = Callable[[], Tensor | Pixels]


def measure(task: Task) -> Trial:
    """Run a task in this process."""
    if task.threads:
        torch.set_num_threads(task.threads)
    calls = _calls(task)
    before = _reset_peak()
    rounds = [_round(task, calls)]
    if task.rounds > 1 and sum(rounds[0].values()) < WARM_UP_SECONDS:
        rounds.clear()
    while len(rounds) < task.rounds:
        rounds.append(_round(task, calls))
    peak = _resident("VmHWM") if before else 0
    return Trial({name: [each[name] for each in rounds] for name in calls}, peak - before, peak)


def _round(task: Task, calls: dict[str, Call]) -> dict[str, float]:
    """Seconds of one call of each method."""
    seconds = {}
    for name, call in calls.items():
        started = time.perf_counter()
        answer = call()
        seconds[name] = time.perf_counter() - started
        if task.keep and isinstance(answer, Tensor):
            write_array(Path(task.folder) / f"{name}.npy", answer[0].numpy())
    return seconds


def _calls(task: Task) -> dict[str, Call]:
    folder = Path(task.folder)
    mask = read_array(folder / MASK_NAME)
    if set(task.methods) <= set(MATCHES):
        features = torch.from_numpy(read_array(folder / FEATURES_NAME))
        return {
            name: partial(_match, name, features, mask_to_tensor(mask)) for name in task.methods
        }
    pixels = read_array(folder / IMAGE_NAME)
    fills = {name: _open_fill(task, name) for name in task.methods}
    return {name: partial(fill, pixels, mask) for name, fill in fills.items()}


def _match(name: str, features: Tensor, mask: Tensor) -> Tensor:
    """One whole patch-swap, match and paste; gives the matches."""
    if name == PUBLISHED:
        return published_swap(features, mask)[1]
    indices = match_patches(features, mask, method=cast(Search, name))
    paste_patches(features, indices, mask)
    return indices


def _open_fill(task: Task, name: str) -> Method:
    if name == PATCHMATCH:
        return patchmatch
    if task.release:
        inpainter, _ = open_release(task.release)
    else:
        inpainter = build_inpainter(ModelConfig("small"), open_encoder(task.encoder, 0))
    inpainter.precision = OURS[name]
    return ReleaseMethod(inpainter)


def _reset_peak() -> int:
    """Resident bytes now, from which on their peak counts; 0 where the system keeps none."""
    switch = Path("/proc/self/clear_refs")
    if not switch.exists():
        return 0
    switch.write_text("5")
    return _resident("VmRSS")


def _resident(name: str) -> int:
    """A figure of this process's memory, in bytes, as Linux keeps it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.removesuffix("kB")) * 1024
    raise ValueError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    print(RESULT + json.dumps(asdict(measure(Task(**json.loads(sys.argv[1]))))))
