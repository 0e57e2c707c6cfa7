"""`ray job submit` of a training as a user types it: killed half-way, submitted again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from kintsugi.runs.checkpoints import CheckpointStore
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.servers.cluster import Cluster
from kintsugi.storage.storage import Storage
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, losses, pack_photos

ROOT = Path(__file__).parents[2]
NUM_STEPS = 400
# Of a step, on no terminal.
LINE = r"^step +{step}/{last}  perceptual .* images/s  data wait +\d+ %  \d+ s left$"
PICTURES = r"^step +{step}/{last}  fixed photographs: "

pytestmark = pytest.mark.ray


def submit(cluster: Cluster, *command: str, output: Path) -> "subprocess.Popen[bytes]":
    """`ray job submit` in the background, its output in a file."""
    environment = dict(os.environ) | cluster.environment()
    environment.pop("RAY_ADDRESS", None)
    ray = Path(sys.executable).parent / "ray"
    with output.open("wb") as file:
        return subprocess.Popen(
            [str(ray), "job", "submit", "--working-dir", ".", "--", *command],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def sets(values: Sequence[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def drivers(run: str) -> list[int]:
    """Processes of the job's own script, by the run's name in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            is_script = any(word.endswith(b"jobs/train_stage1.py") for word in words[:2])
            if is_script and f"run={run}".encode() in words:
                found.append(int(folder.name))
    return found


def test_a_killed_job_goes_on_from_its_last_checkpoint(
    job_cluster: Cluster, s3_uri: str, tmp_path: Path
) -> None:
    pack_photos(tmp_path)
    shards = Storage(f"{s3_uri}/shards")
    for name in Storage(tmp_path / "shards").list():
        shards.write(name, Storage(tmp_path / "shards").read(name))
    settings = [
        f"storage={s3_uri}/runs",
        f"data.shards={shards.uri}",
        "data.photos=''",
        "encoder=random",
        "run=killed",
        "data.resize_px=128",
        "loop.batch_size=2",
        "loop.log_every=1",
        "loop.checkpoint_every=2",
        "loop.sample_every=2",
        "workers.threads=1",
    ]
    checkpoints = CheckpointStore(Storage(f"{s3_uri}/runs/killed/checkpoints"))

    command = ["jobs/train_stage1.py", *sets([*settings, f"loop.max_steps={NUM_STEPS}"])]
    job = submit(job_cluster, *command, output=tmp_path / "killed.log")
    while not checkpoints.steps():
        assert job.poll() is None, (tmp_path / "killed.log").read_text()
        time.sleep(0.2)
    killed = drivers("killed")
    assert killed, "the job's process was not found"
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert job.wait() != 0
    reached = checkpoints.steps()[-1]
    assert 2 <= reached < NUM_STEPS

    last = reached + 4
    figures = tmp_path / "figures.json"
    # By its name now, as the tutorial has it.
    command = ["kintsugi", "train", "stage1", *sets([*settings, f"loop.max_steps={last}"])]
    command += ["--json", str(figures), "--tensorboard"]
    again = submit(job_cluster, *command, output=tmp_path / "again.log")
    log = tmp_path / "again.log"
    assert again.wait() == 0, log.read_text()

    resumed = json.loads(figures.read_text())
    # A checkpoint that was being published as the job was killed may have been finished.
    assert reached <= resumed["first_step"] < last
    assert f"resuming at step {resumed['first_step']}" in log.read_text()
    # Ray's own line for every checkpoint.
    assert "TrainingReport" not in log.read_text()
    for step in range(resumed["first_step"] + 1, last + 1):
        line = LINE.format(step=step, last=last)
        assert len(re.findall(line, log.read_text(), re.MULTILINE)) == 1, log.read_text()
    # What the first job printed last went with it.
    pictures = PICTURES.format(step=last // 2 * 2, last=last)
    assert re.search(pictures, log.read_text(), re.MULTILINE), log.read_text()
    # `ray job submit` has colours of its own.
    ours = re.findall(r"^(?:steps? |stage1|perceptual loss).*", log.read_text(), re.MULTILINE)
    assert not any("\x1b" in line for line in ours)
    assert any(line.startswith("perceptual loss on the fixed photographs: ") for line in ours)
    config = debug_config(
        tmp_path, max_steps=last, log_every=1, checkpoint_every=last, sample_every=0
    )
    whole = read_metrics(train_locally(config).storage.join("metrics"))
    assert losses(resumed["metrics"]) == losses(whole)
    run = Run(Storage(f"{s3_uri}/runs/killed"))
    assert run.config().run == "killed"
    assert "step-00000000.png" in run.storage.join("samples").list()
    assert run.storage.join("tensorboard").list()
