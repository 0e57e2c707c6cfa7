"""The groups of the rendered RayService under load, by Ray's autoscaler and Serve themselves.

Load on one node brings a pod of that node's group and of no other, idling takes it away, no replica
without a GPU is ever on a GPU pod, and a release rolls under load with every group at its most.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kintsugi.imaging.codec import encode_image
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.k8s.chart import joined, values
from tests.k8s.manifests import ROOT, Manifest, named, render

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]

Row = dict[str, Any]
WITHOUT_GPU = ("Ingress", "Refiner")
COMPUTING = ("Image2Feature", "PatchSwap", "Feature2Image")
QUICK = {"upSeconds": 1, "downSeconds": 3}


def small(**delays: int) -> Manifest:
    """Production's groups, labels and selectors at a size that two cores hold.

    Two pods `core` as there, PatchSwap grows by one, and then every group is full.
    """
    return {
        "serving": {
            "nodes": {
                **{node: {"min": 1, "max": 1, **delays} for node in WITHOUT_GPU},
                **{node: {"min": 2, "max": 2, **delays} for node in COMPUTING},
                "PatchSwap": {"min": 2, "max": 3, **delays},
            },
            "groups": {
                "front": {"min": 1, "max": 2, "idleSeconds": 5},
                "core": {"min": 2, "max": 2, "idleSeconds": 5},
                "patchswap": {"max": 1, "idleSeconds": 5},
                "image2feature": {"max": 0, "idleSeconds": 5},
                "feature2image": {"max": 0, "idleSeconds": 5},
            },
        }
    }


def write_releases(folder: Path) -> None:
    config = ModelConfig("tiny")
    for seed, name in enumerate(("first", "second")):
        inpainter = build_inpainter(config, Vgg19Relu3.random(seed=seed))
        about = ReleaseConfig(name, config, encoder=f"random (seed {seed})")
        save_release(folder / "releases" / name, inpainter, about, card="For tests.")


def write_request(folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    mask = np.zeros((96, 96, 3), np.uint8)
    mask[30:60, 30:60] = 255
    parts = b"".join(
        b"--x\r\ncontent-disposition: form-data; name=%b; filename=%b.png\r\n\r\n%b\r\n"
        % (name, name, encode_image(pixels, "png"))
        for name, pixels in ((b"image", image), (b"mask", mask))
    )
    (folder / "request.bin").write_bytes(parts + b"--x--\r\n")


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    """What the cluster printed."""
    unshare = shutil.which("unshare")
    if os.getuid() != 0 or unshare is None:
        pytest.skip("namespaces of its own need root and `unshare`")
    # Ray's sockets live below, and their paths may have 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="kg-", dir="/tmp"))
    try:
        # Replicas that are being replaced say nothing of their load: with delays of seconds they
        # would be taken away in the middle of a roll. So that has production's.
        for name, delays in (("manifest", QUICK), ("rolled", {})):
            rendered = render(joined(values("production"), small(**delays)))
            manifest = named(rendered, "RayService", "kintsugi")
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))
        write_releases(folder)
        write_request(folder)
        program = f"ip link set lo up; exec {sys.executable} -m tests.k8s.fake_cluster {folder}"
        command = [unshare, "--pid", "--net", "--mount", "--fork", "--mount-proc", "--kill-child"]
        done = subprocess.run(
            [*command, "bash", "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"},
            capture_output=True,
            text=True,
            timeout=1400,
        )
        if file := os.environ.get("KINTSUGI_GROUPS_LOG"):
            Path(file).write_text(done.stdout)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        # Ray prints there as well.
        yield [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def states(rows: list[Row], doing: str) -> list[Row]:
    found = [row for row in rows if row.get("doing") == doing]
    assert found, doing
    return found


def test_load_on_a_node_adds_its_group_alone(rows: list[Row]) -> None:
    loaded = states(rows, "load on PatchSwap")
    assert loaded[-1]["replicas"]["PatchSwap"]["patchswap"] == 1
    for row in loaded:
        assert set(row["groups"]) <= {"head", "front", "core", "patchswap"}, row
        assert (row["groups"]["front"], row["groups"]["core"]) == (1, 2), row


def test_idling_takes_it_away(rows: list[Row]) -> None:
    end = states(rows, "nothing")[-1]
    assert end["groups"] == {"head": 1, "front": 1, "core": 2}
    assert end["replicas"]["PatchSwap"] == {"core": 2}


def test_no_replica_without_a_gpu_is_ever_on_a_gpu_pod(rows: list[Row]) -> None:
    seen = 0
    for row in rows:
        for node, groups in row.get("replicas", {}).items():
            allowed = {"front"} if node in WITHOUT_GPU else {"core", node.lower()}
            # A pod that has just gone is in no list of nodes any more.
            assert set(groups) - {"gone"} <= allowed, row
            seen += sum(groups.values())
    assert seen > 50


def test_jobs_are_taken_and_done(rows: list[Row]) -> None:
    (statuses,) = [row["jobs"] for row in rows if "jobs" in row]
    assert statuses == [202, 200]


def test_a_roll_under_load_at_full_groups_fails_nothing_and_ends(rows: list[Row]) -> None:
    full = states(rows, "filling every group")[-1]
    assert (full["groups"]["patchswap"], full["groups"]["core"]) == (1, 2)
    rolling = states(rows, "rolling")
    assert any(row["status"] == "DEPLOYING" for row in rolling)
    assert rolling[-1]["status"] == "RUNNING"
    (answers,) = [row["answers"] for row in rows if "answers" in row]
    assert {answer.partition(" ")[0] for answer in answers} == {"200"}
    releases = {answer.split()[1].partition("@")[0].partition(" ")[0] for answer in answers}
    assert len(releases) == 2, answers
