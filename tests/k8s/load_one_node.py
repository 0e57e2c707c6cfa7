"""Keep one node of a running graph busy, then let go; print every node's replicas meanwhile.

A job of that cluster, so that the process that tests has no Ray:
    ray job submit -- python -m tests.k8s.load_one_node Image2Feature RELEASE
Prints JSON lines: seconds since the start, the node that is loaded ("" when none), and the
replicas by node.
"""

import itertools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from ray import serve

from kintsugi.deploy.graph.nodes import Encoded, Swapped
from kintsugi.deploy.graph.request_context import Release, RequestContext

APPLICATION = "kintsugi"
# More than one replica is meant to have (target_ongoing_requests), fewer than its queue holds.
AT_ONCE = 12
GIVE_UP_SECONDS = 150.0


def request_of(node: str, release: str) -> Callable[[], Any]:
    """A function that sends one small request straight to a node, which holds ``release``."""
    handle = serve.get_deployment_handle(node, APPLICATION)
    context = RequestContext(Release(release, handle.ready.remote().result().model), math.inf)
    generator = np.random.default_rng(0)
    features = generator.random((1, 256, 32, 32), np.float32)
    mask = np.zeros((1, 1, 128, 128), np.bool_)
    mask[..., 40:88, 40:88] = True
    image = generator.random((1, 3, 128, 128), np.float32)
    if node == "Image2Feature":
        return lambda: handle.encode_whole.remote(context, image)
    if node == "PatchSwap":
        return lambda: handle.swap.remote(context, Encoded(features, None), mask, None, 0)
    return lambda: handle.translate.remote(context, Swapped(features), None)


def replicas() -> dict[str, int]:
    """Running replicas by node."""
    deployments = serve.status().applications[APPLICATION].deployments
    return {name: one.replica_states.get("RUNNING", 0) for name, one in deployments.items()}


def main(node: str, release: str) -> None:
    ray.init(namespace="serve", log_to_driver=False)
    started = time.monotonic()

    def show(loaded: str) -> dict[str, int]:
        found = replicas()
        seconds = round(time.monotonic() - started, 2)
        print(json.dumps({"seconds": seconds, "loaded": loaded, "replicas": found}), flush=True)
        return found

    send = request_of(node, release)
    running = [send() for _ in range(AT_ONCE)]
    most = 2
    for index in itertools.cycle(range(AT_ONCE)):
        running[index].result(timeout_s=GIVE_UP_SECONDS)
        running[index] = send()
        grown = index == 0 and show(node)[node] >= most
        if grown or time.monotonic() - started > GIVE_UP_SECONDS:
            break
    for response in running:
        response.result(timeout_s=GIVE_UP_SECONDS)
    released = time.monotonic()
    while show("")[node] > 1 and time.monotonic() - released < GIVE_UP_SECONDS:
        time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
