"""What the demo proves about itself, each as one function that raises CheckFailed or says it."""

import re
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kintsugi.data.shard_manifest import read_manifest
from kintsugi.errors import KintsugiError
from kintsugi.imaging.arrays import Pixels
from kintsugi.servers.cluster import Cluster
from kintsugi.storage.storage import Storage

# Stages of the graph's four nodes, as its metrics name them.
NODE_STAGES = ("infer", "match", "translate", "refine")
# Ray exports its metrics about every five seconds.
_METRICS_SECONDS = 60.0


class CheckFailed(KintsugiError):
    """The demo ran, but something that it promises did not happen."""


def check_data_path(shards: str, cluster: Cluster) -> str:
    """The training photographs came from S3 and through Ray Data's tasks."""
    from ray.util.state import list_tasks

    if not shards.startswith("s3://"):
        raise CheckFailed(f"training read {shards}, which is not object storage")
    manifest = read_manifest(Storage(shards))
    tasks = list_tasks(
        address=cluster.dashboard,
        filters=[("name", "=", "MapBatches(DecodeRead)"), ("state", "=", "FINISHED")],
    )
    if not tasks:
        raise CheckFailed("no Ray Data task that reads shards has finished on this cluster")
    return (
        f"{manifest.rows} photographs in {len(manifest.parts)} shards at {shards},"
        f" read and decoded by {len(tasks)} tasks of Ray Data"
    )


def check_loss_fell(figures: dict[str, Any]) -> str:
    """The perceptual loss on the fixed photographs is lower at the end than at the start."""
    losses = [row["fixed/perceptual"] for row in figures["metrics"] if "fixed/perceptual" in row]
    if len(losses) < 2 or not losses[-1] < losses[0]:
        raise CheckFailed(f"the loss of {figures['run']} did not fall: {losses}")
    return f"perceptual loss fell from {losses[0]:.3f} to {losses[-1]:.3f}"


def check_nodes_called(cluster: Cluster, requests: int) -> str:
    """Every node of the graph computed for every request, by its own metrics."""
    give_up = time.monotonic() + _METRICS_SECONDS
    while True:
        calls = _stage_counts(cluster)
        if all(calls.get(stage, 0) >= requests for stage in NODE_STAGES):
            return ", ".join(f"{stage} {calls[stage]}x" for stage in NODE_STAGES)
        if time.monotonic() > give_up:
            raise CheckFailed(f"not every node of the graph was called {requests} times: {calls}")
        time.sleep(1.0)


def check_outside_unchanged(before: Pixels, after: Pixels, hole: NDArray[np.bool_]) -> str:
    """Outside the hole the answer's pixels are the photograph's; inside they are not."""
    if before.shape != after.shape:
        raise CheckFailed(f"sent {before.shape} and got {after.shape}")
    different = (before != after).any(axis=2)
    if different[~hole].any():
        raise CheckFailed(f"{int(different[~hole].sum())} pixels outside the hole changed")
    if not different[hole].any():
        raise CheckFailed("the hole holds what was sent in it: nothing was filled")
    return f"all {int((~hole).sum())} pixels outside the hole are the photograph's"


def check_fills_differ(one: Pixels, other: Pixels, hole: NDArray[np.bool_]) -> str:
    """Two photographs get different fills under the same mask."""
    distance = float(np.abs(one[hole].astype(float) - other[hole].astype(float)).mean())
    if distance < 1:
        raise CheckFailed(
            f"two photographs got the same fill: they differ by {distance:.2f} of 255"
        )
    return f"two photographs, one mask: their fills differ by {distance:.0f} of 255 on average"


def save_result(
    path: Path, photo: Pixels, hole: NDArray[np.bool_], fills: Sequence[Pixels]
) -> None:
    """The photograph with its hole in white, the mask, and the filled photographs."""
    holed = np.where(hole[..., None], np.uint8(255), photo)
    mask = np.repeat(np.where(hole, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
    gap = np.full((photo.shape[0], 8, 3), 255, np.uint8)
    row = [part for image in (holed, mask, *fills) for part in (gap, image)][1:]
    Image.fromarray(np.concatenate(row, axis=1)).save(path)


def _stage_counts(cluster: Cluster) -> dict[str, int]:
    with urllib.request.urlopen(f"{cluster.metrics}/metrics", timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    counts: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("ray_kintsugi_stage_seconds_count{"):
            stage = re.search(r'stage="([^"]*)"', line)
            assert stage is not None, line
            counts[stage[1]] = counts.get(stage[1], 0) + int(float(line.rpartition(" ")[2]))
    return counts
