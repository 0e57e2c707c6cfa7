"""Starts the plain loop in fresh processes with torchrun and reads what they saw; no Ray."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kintsugi.benchmarks.train.plain import RESULT_NAME, TASK_NAME
from kintsugi.benchmarks.train.timing import CheckpointCost, Stretch, Timing
from kintsugi.errors import KintsugiError

_COMMAND = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
# torchrun's line about the first process that failed; its own stack, with no cause, follows.
_FAILED = "failed (exitcode"
# Lines up to it that the processes printed: why they failed may take more than one.
_TAIL_LINES = 40


def run_plain(stretches: Sequence[Stretch]) -> list[Timing]:
    """Time the stretches one after the other in new processes, as many as their workers.

    Raises: KintsugiError naming the cause when they failed.
    """
    workers = stretches[0].parsed().workers.count
    with tempfile.TemporaryDirectory(prefix="kintsugi-plain-") as temporary:
        folder = Path(temporary)
        (folder / TASK_NAME).write_text(json.dumps([asdict(stretch) for stretch in stretches]))
        _run([*_COMMAND, str(workers), "-m", "kintsugi.benchmarks.train.plain", temporary])
        return [_timing(values) for values in json.loads((folder / RESULT_NAME).read_text())]


def _run(command: Sequence[str]) -> None:
    # As this process finds its modules, however it was started.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            printed, _ = process.communicate()
        finally:
            # Asked to end, torchrun ends its processes; killed, it would leave them behind.
            process.terminate()
    if process.returncode:
        why = _cause(printed)
        raise KintsugiError(f"the plain loop failed (exit code {process.returncode}): {why}")


def _cause(printed: str) -> str:
    ours = re.findall(r"kintsugi\.errors\.\w+: (.+)", printed)
    if ours:
        return str(ours[0])
    lines = printed.splitlines()
    failed = [number for number, line in enumerate(lines, 1) if _FAILED in line]
    end = failed[0] if failed else len(lines)
    return "\n" + "\n".join(lines[max(0, end - _TAIL_LINES) : end])


def _timing(values: dict[str, object]) -> Timing:
    cost = values.pop("checkpoint")
    checkpoint = CheckpointCost(**cost) if isinstance(cost, dict) else None
    return Timing(**values, checkpoint=checkpoint)  # type: ignore[arg-type]
