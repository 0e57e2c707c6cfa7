"""Each node of the graph grows and shrinks by itself, on a local cluster with Serve's autoscaler.

With deploy/serve.yaml but for its waiting times, which are seconds here. Leaves a picture of the
replicas over time where KINTSUGI_SCALING_PNG names a file.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from PIL import Image, ImageDraw

from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release
from kintsugi.servers.cluster import Cluster, ray_cluster
from kintsugi.servers.processes import free_ports
from tests.k8s.manifests import ROOT, read

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]

COMPUTING = ("Image2Feature", "PatchSwap", "Feature2Image")
QUICK = {"upscale_delay_s": 1, "downscale_delay_s": 3, "look_back_period_s": 3}
# How often replicas and callers say how busy they are; Ray's default is 10 s.
OFTEN = {
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
}
COLOURS = {
    "Ingress": "#888888",
    "Refiner": "#333333",
    "Image2Feature": "#1f77b4",
    "PatchSwap": "#d62728",
    "Feature2Image": "#2ca02c",
}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scaling")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster with the graph of serve.yaml on it."""
    config = ModelConfig("tiny")
    inpainter = build_inpainter(config, Vgg19Relu3.random(seed=0))
    about = ReleaseConfig("tiny", config, encoder="random (seed 0)")
    save_release(folder / "release", inpainter, about, card="For tests.")
    with ray_cluster(ROOT, folder / "ray.log", OFTEN) as running:
        file = folder / "serve.yaml"
        serving = quick_config(folder / "release")
        file.write_text(yaml.safe_dump(serving))
        run(running, "serve", "deploy", str(file))
        wait_until_ready(serving["http_options"]["port"])
        yield running


def quick_config(release: Path) -> dict[str, Any]:
    config: dict[str, Any] = read(ROOT / "deploy" / "serve.yaml")
    config["http_options"]["port"], config["grpc_options"]["port"] = free_ports(2)
    (application,) = config["applications"]
    application["args"]["release"] = str(release)
    for node in application["deployments"]:
        node["autoscaling_config"] |= QUICK
    return config


def run(cluster: Cluster, program: str, *arguments: str) -> str:
    """Run one of Ray's programs against the cluster. Returns what it prints."""
    command = [str(Path(sys.executable).parent / program), *arguments]
    environment = os.environ | cluster.environment()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=450
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def wait_until_ready(port: int) -> None:
    give_up = time.monotonic() + 400
    while time.monotonic() < give_up:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(1)
    pytest.fail("the graph was not ready in time")


def load(cluster: Cluster, node: str, release: Path) -> list[Row]:
    program = ["python", "-m", "tests.k8s.load_one_node", node, str(release)]
    printed = run(cluster, "ray", "job", "submit", "--", *program)
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_load_on_one_node_grows_that_node_only(cluster: Cluster, folder: Path) -> None:
    rows: list[Row] = []
    for node in COMPUTING:
        found = load(cluster, node, folder / "release")
        most = {name: max(row["replicas"][name] for row in found) for name in COLOURS}
        assert most == {name: 2 if name == node else 1 for name in COLOURS}
        assert found[-1]["replicas"] == dict.fromkeys(COLOURS, 1)
        begin = rows[-1]["seconds"] + 1 if rows else 0.0
        rows += [row | {"seconds": row["seconds"] + begin} for row in found]
    if file := os.environ.get("KINTSUGI_SCALING_PNG"):
        draw(rows).save(file)


def draw(rows: list[Row]) -> Image.Image:
    """Replicas over time, a band for each node; grey behind the node that is loaded."""
    width, band, left = 900, 64, 130
    image = Image.new("RGB", (width, band * len(COLOURS) + 40), "white")
    pen = ImageDraw.Draw(image)
    scale = (width - left - 20) / rows[-1]["seconds"]
    for index, (node, colour) in enumerate(COLOURS.items()):
        floor = (index + 1) * band
        pen.text((10, floor - band // 2), node, fill="black")
        for row, following in itertools.pairwise(rows):
            here, there = (left + r["seconds"] * scale for r in (row, following))
            if row["loaded"] == node:
                pen.rectangle((here, floor - band + 4, there, floor), fill="#e8e8e8")
            height = floor - row["replicas"][node] * 22
            pen.rectangle((here, height, there, height + 3), fill=colour)
        for count in (1, 2):
            pen.text((left - 14, floor - count * 22 - 5), str(count), fill="#888888")
    end = f"{rows[-1]['seconds']:.0f} s"
    pen.text(
        (left, image.height - 26), "replicas over time; grey: this node is loaded", fill="black"
    )
    pen.text((width - 60, image.height - 26), end, fill="black")
    return image
