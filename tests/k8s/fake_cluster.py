"""The rendered RayService on a cluster of this machine: its groups by Ray's fake nodes and the real
autoscaler (v2), its serveConfigV2 by the real Serve. Loads one node, lets go, rolls a release.

Runs alone in namespaces of its own, so that it meets no other Ray:
    unshare --pid --net --mount --fork --mount-proc --kill-child python -m tests.k8s.fake_cluster F
Reads F/{manifest,rolled}.yaml, F/releases/{first,second} and F/request.bin; prints JSON lines: what
is loaded, nodes by group, replicas by node of the graph and group.
"""

import concurrent.futures
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
)
from ray.autoscaler._private.kuberay import autoscaling_config

from tests.k8s.load_one_node import request_of

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DASHBOARD = "http://127.0.0.1:8265"
SERVE_PORT = 8000
# Requests that are sent straight to the loaded node at one time.
AT_ONCE = 12
# For everything that waits: the machine may be busy.
PATIENCE_SECONDS = 420.0
STORE_BYTES = 80_000_000


def say(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def autoscaler_config(manifest: dict[str, Any]) -> dict[str, Any]:
    """What KubeRay's autoscaler would read from the manifest, with fake nodes for pods."""
    resource = {
        "metadata": {"name": "kintsugi", "namespace": "kintsugi"},
        "spec": manifest["spec"]["rayClusterConfig"],
    }
    config: dict[str, Any] = autoscaling_config._derive_autoscaling_config_from_ray_cr(resource)
    types = config["available_node_types"]
    types[FAKE_HEAD_NODE_TYPE] = types.pop("headgroup")
    for kind in types.values():
        # Of a pod's memory these nodes have little.
        kind["resources"].pop("memory", None)
        kind["resources"]["object_store_memory"] = STORE_BYTES
    return config | {
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "provider": {
            "type": "external",
            "module": "tests.k8s.fake_nodes.PatientNodes",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
    }


def serve_config(manifest: dict[str, Any], release: Path, folder: Path) -> dict[str, Any]:
    """The rendered serveConfigV2 but for what a machine without a GPU and a Secret has not."""
    config: dict[str, Any] = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    args = application["args"]
    del args["api_keys"]
    args |= {"release": str(release), "jobs": str(folder / "jobs")}
    args |= {"device": "cpu", "precision": "float32", "threads": 1}
    for node in application["deployments"]:
        node["autoscaling_config"]["look_back_period_s"] = 3
    return config


@contextmanager
def head(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """A head with the autoscaler, which starts the fake nodes as processes of its own."""
    file = folder / "autoscaler.json"
    file.write_text(json.dumps(config))
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--port", "6379", "--num-cpus", "0"),
        *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"),
        *("--temp-dir", str(folder / "ray"), "--object-store-memory", str(STORE_BYTES)),
        *(f"--autoscaling-config={file}", "--disable-usage-stats"),
    ]
    environment = os.environ | {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    }
    os.environ |= environment
    with (folder / "ray.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            wait_for("the head", lambda: get(f"{DASHBOARD}/api/version") is not None)
            ray.init("127.0.0.1:6379", namespace="serve", log_to_driver=False)
            yield
        finally:
            ray.shutdown()
            # Everything else ends with the namespace.
            process.kill()


def get(url: str) -> Any:
    """The JSON there; None while nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError):
        return None


def wait_for(what: str, there: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not there():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what}: not within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.5)


class Cluster:
    """What there is of nodes and replicas, shown as it changes."""

    def __init__(self) -> None:
        self.doing = "starting"
        self._began = time.monotonic()
        self._shown: Any = None

    def look(self) -> tuple[Counter[str], dict[str, Counter[str]], str]:
        """Nodes by group, running replicas by node of the graph and group, and Serve's status."""
        group_of = {
            node["NodeID"]: node["Labels"].get("kintsugi-group", "head")
            for node in ray.nodes()
            if node["Alive"]
        }
        # On a busy machine it does not always answer in time.
        while (found := get(f"{DASHBOARD}/api/serve/applications/")) is None:
            time.sleep(0.5)
        application = found["applications"].get("kintsugi", {})
        replicas: dict[str, Counter[str]] = defaultdict(Counter)
        replicas |= {
            name: Counter(
                group_of.get(replica["node_id"], "gone")
                for replica in deployment["replicas"]
                if replica["state"] == "RUNNING"
            )
            for name, deployment in application.get("deployments", {}).items()
        }
        row = {
            "doing": self.doing,
            "groups": Counter(group_of.values()),
            "replicas": replicas,
            "status": application.get("status", "NOT_STARTED"),
        }
        if row != self._shown:
            self._shown = row
            say(seconds=round(time.monotonic() - self._began, 1), **row)
        return row["groups"], replicas, row["status"]

    def until(self, what: str, there: Callable[..., bool]) -> None:
        self.doing = what
        wait_for(what, lambda: there(*self.look()))


def deploy(folder: Path, config: dict[str, Any]) -> None:
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [str(BIN / "serve"), "deploy", "--address", DASHBOARD, str(file)]
    subprocess.run(command, check=True, capture_output=True)


def load_and_let_go(cluster: Cluster, release: Path) -> None:
    """PatchSwap alone is busy until its own group has a pod with a replica; then nothing is."""
    send = request_of("PatchSwap", str(release))
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            send().result(timeout_s=PATIENCE_SECONDS)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        busy = [pool.submit(keep_busy) for _ in range(AT_ONCE)]
        try:
            cluster.until(
                "load on PatchSwap", lambda groups, replicas, _: replicas["PatchSwap"]["patchswap"]
            )
        finally:
            stop.set()
    for each in busy:
        each.result()
    cluster.until("nothing", lambda groups, *_: not groups["patchswap"])


def roll(cluster: Cluster, folder: Path, config: dict[str, Any], releases: list[Path]) -> None:
    """The second release under load, with every group at its most."""
    body = (folder / "request.bin").read_bytes()
    boundary = body.split(b"\r\n", 1)[0].removeprefix(b"--").decode()
    stop = threading.Event()
    answers: Counter[str] = Counter()
    send = request_of("PatchSwap", str(releases[0]))

    def keep_busy() -> None:
        while not stop.is_set():
            send().result(timeout_s=PATIENCE_SECONDS)

    def client() -> None:
        while not stop.is_set():
            answers[ask(body, boundary)] += 1

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE + 2) as pool:
        # To the end, so that no pod is free meanwhile.
        clients = [pool.submit(keep_busy) for _ in range(AT_ONCE // 2)]
        try:
            cluster.until(
                "filling every group",
                lambda groups, replicas, _: replicas["PatchSwap"]["patchswap"],
            )
            clients += [pool.submit(client) for _ in range(2)]
            cluster.until("requests", lambda *_: sum(answers.values()) > 3)
            deploy(folder, config)
            second = releases[1].name
            cluster.until(
                "rolling",
                lambda _, __, status: (
                    status == "RUNNING" and any(f"200 {second}" in answer for answer in answers)
                ),
            )
            before = sum(answers.values())
            cluster.until("requests", lambda *_: sum(answers.values()) > before + 3)
        finally:
            stop.set()
    for each in clients:
        each.result()
    say(answers=answers)


def ask(body: bytes, boundary: str) -> str:
    """Status and release of one answer; what failed says how."""
    connection = http.client.HTTPConnection("127.0.0.1", SERVE_PORT, timeout=180)
    try:
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        connection.request("POST", "/v1/inpaint", body, headers)
        answer = connection.getresponse()
        answer.read()
        return f"{answer.status} {answer.headers.get('x-model-version', '')}"
    except (OSError, http.client.HTTPException) as error:
        return f"failed: {type(error).__name__}"
    finally:
        connection.close()


def main(folder: Path) -> None:
    manifest, rolled = (
        yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("manifest", "rolled")
    )
    releases = [folder / "releases" / name for name in ("first", "second")]
    with head(folder, autoscaler_config(manifest)):
        cluster = Cluster()
        deploy(folder, serve_config(manifest, releases[0], folder))
        cluster.until("starting", lambda _, __, status: status == "RUNNING")
        # /v1/jobs answers on the rendered configuration.
        say(jobs=job(folder))
        load_and_let_go(cluster, releases[0])
        roll(cluster, folder, serve_config(rolled, releases[1], folder), releases)


def job(folder: Path) -> list[int]:
    """Statuses of a job: sent, and its result once it is there."""
    body = (folder / "request.bin").read_bytes()
    boundary = body.split(b"\r\n", 1)[0].removeprefix(b"--").decode()
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    base = f"http://127.0.0.1:{SERVE_PORT}"
    sent = urllib.request.Request(f"{base}/v1/jobs", body, headers)  # noqa: S310
    with urllib.request.urlopen(sent, timeout=60) as answer:  # noqa: S310
        place = base + answer.headers["location"]
        statuses = [answer.status]
    ended = ("done", "failed")
    wait_for("the job", lambda: (get(place) or {}).get("state") in ended)
    with urllib.request.urlopen(f"{place}/result", timeout=60) as answer:  # noqa: S310
        return [*statuses, answer.status]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
