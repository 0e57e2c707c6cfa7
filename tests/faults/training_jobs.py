"""Training jobs as processes of their own on a cluster of one machine, to be harmed by tests."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kintsugi.runs.checkpoints import STATE_NAME, CheckpointStore, checkpoint_name
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.storage.checksums import MANIFEST_NAME
from kintsugi.storage.storage import Storage
from tests.kintsugi.training_runs import losses

ROOT = Path(__file__).parents[2]
NUM_STEPS = 24
CHECKPOINT_EVERY = 4
# Two of them fill a node of two CPUs: each takes 0.5 for itself and 0.5 for reading.
SETTINGS = {
    "encoder": "random",
    "data.photos": "''",
    "data.resize_px": 128,
    "loop.max_steps": NUM_STEPS,
    "loop.checkpoint_every": CHECKPOINT_EVERY,
    "loop.batch_size": 2,
    "loop.log_every": 1,
    "loop.sample_every": 0,
    "workers.count": 2,
    "workers.threads": 1,
}
# Guards against a hang; what is promised is asserted by the tests.
PATIENCE_S = 240.0
_STARTED: list["subprocess.Popen[bytes]"] = []


@dataclass(frozen=True)
class Job:
    """A running `jobs/train_stage1.py`."""

    process: "subprocess.Popen[bytes]"
    run: Storage
    log: Path

    @property
    def checkpoints(self) -> CheckpointStore:
        return CheckpointStore(self.run.join("checkpoints"))

    def wait_for_step(self, step: int) -> None:
        """Wait until the checkpoint of a step is there."""
        self._wait(lambda: step in self.checkpoints.steps(), f"checkpoint {step}")

    def wait_for_words(self, pattern: str) -> re.Match[str]:
        """Wait until the job prints something."""
        found: list[re.Match[str] | None] = [None]

        def search() -> bool:
            found[0] = re.search(pattern, self.log.read_text())
            return found[0] is not None

        self._wait(search, f"{pattern!r}")
        assert found[0] is not None
        return found[0]

    def _wait(self, happened: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not happened():
            ended = self.process.poll() is not None and not happened()
            assert not ended, f"the job ended without {what}: {self.log.read_text()}"
            assert time.monotonic() < end, f"no {what}: {self.log.read_text()}"
            time.sleep(0.05)

    def losses(self) -> list[tuple[float, ...]]:
        """The losses of every step, after the job has ended well."""
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()
        return losses(read_metrics(self.run.join("metrics")))

    def written(self, step: int) -> float:
        """When a checkpoint was complete, on the clock of `time.time`."""
        folder = Path(self.run.uri) / "checkpoints" / checkpoint_name(step)
        return (folder / MANIFEST_NAME).stat().st_mtime

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        state: dict[str, Any] = json.loads(
            self.run.read(f"checkpoints/{checkpoint_name(step)}/{STATE_NAME}")
        )
        return state


def submit(address: str, folder: Path, name: str, **settings: Any) -> Job:
    """Start a job on the cluster at ``address``; shards and runs are in ``folder``."""
    values = SETTINGS | {"storage": folder / "runs", "data.shards": folder / "shards", "run": name}
    values |= {key.replace("__", "."): value for key, value in settings.items()}
    sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "jobs" / "train_stage1.py"), *sets],
            cwd=ROOT,
            env=dict(os.environ) | {"RAY_ADDRESS": address},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    _STARTED.append(process)
    return Job(process, Storage(folder / "runs" / name), log)


def end_jobs() -> None:
    """End what a failed test left running: the next one needs the cluster."""
    while _STARTED:
        process = _STARTED.pop()
        process.kill()
        process.wait()


def processes(title: str, node: int) -> list[int]:
    """The processes of a node by what Ray calls them, such as "RayTrainWorker".

    Args:
        title: Part of their title.
        node: Process of the node's raylet, which starts them all.
    """
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes()
                # The name may hold spaces and brackets; after it come state and parent.
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == node and title.encode() in words:
                found.append(int(folder.name))
    return sorted(found)


def kill(*pids: int, number: int = signal.SIGKILL) -> float:
    """Send a signal to processes. Returns when, on the clock of `time.monotonic`."""
    for pid in pids:
        os.kill(pid, number)
    return time.monotonic()


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
