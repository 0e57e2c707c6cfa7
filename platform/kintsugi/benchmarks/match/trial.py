"""A measurement in a process of its own, seen from outside; opens no network.

What the process does not survive, the benchmark does.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from kintsugi.models.precision import Precision

# What can be measured: forms of the match; whole fills, ours by the format in which the
# networks compute.
PUBLISHED, PATCHMATCH = "published", "patchmatch"
MATCHES = (PUBLISHED, "exact", "approximate")
OURS: Mapping[str, Precision] = {"fill float32": "float32", "fill bfloat16": "bfloat16"}
FILLS = (*OURS, PATCHMATCH)
# For the process to start and to read its inputs, before what it measures.
START_SECONDS = 120.0
_WORKER = "kintsugi.benchmarks.match.trial_worker"
# Begins the line that the process prints at its end.
RESULT = "RESULT "


@dataclass(frozen=True)
class Task:
    """What one process measures.

    Attributes:
        folder: Holds the inputs, as `kintsugi.benchmarks.match.inputs` writes them.
        methods: Names in ``MATCHES``, or of ``FILLS``.
        rounds: How often each is run, in turn.
        threads: The threads of PyTorch; 0 leaves its own choice.
        release: URI of the release that fills; "": seeded weights of size "small".
        encoder: As a configuration names it; for fills without a release.
        keep: Also write each match's indices to the folder, as ``METHOD.npy``.
    """

    folder: str
    methods: Sequence[str] = ()
    rounds: int = 1
    threads: int = 0
    release: str = ""
    encoder: str = "random"
    keep: bool = False


@dataclass(frozen=True)
class Trial:
    """What came of a task.

    Attributes:
        seconds: method -> of each round.
        peak_bytes: Resident memory at its highest above what was there with the inputs
            (and weights) loaded, of all methods together; 0 where the system does not say.
        process_bytes: Resident memory at its highest in all, weights and libraries included.
        failure: "" or why there are no figures.
    """

    seconds: Mapping[str, Sequence[float]]
    peak_bytes: int = 0
    process_bytes: int = 0
    failure: str = ""


def run_trial(task: Task, *, time_limit: float) -> Trial:
    """Run a task in a fresh process; one that dies or lasts too long is a failure, no error.

    Args:
        task: What to measure.
        time_limit: Seconds for all that is measured.
    """
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                _WORKER,
                json.dumps(asdict(task)),
            ],
            # As this process finds its modules, however it was started.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=time_limit + START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Trial({}, failure=f"not done after {time_limit:.0f} s")
    if done.returncode < 0:
        return Trial({}, failure=f"ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        return Trial({}, failure=done.stderr.strip().rpartition("\n")[2])
    return Trial(**json.loads(done.stdout.rpartition(RESULT)[2]))
