"""The service as `serve deploy` starts it, under load, with its processes named, to be harmed."""

import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch
import yaml

from kintsugi.deploy.client import Client, ClientError
from kintsugi.deploy.client.answers import Response
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.weights import ReleaseConfig, load_release, save_release
from kintsugi.servers.processes import free_ports
from tests.deploy.conftest import Pixels, decode, draw_mask, draw_photo, encode
from tests.faults.training_jobs import ROOT, gone, kill, processes

NODES = ("Image2Feature", "PatchSwap", "Feature2Image", "Refiner")
DEADLINE_SECONDS = 60.0
# Guards against a hang; what is promised is asserted by the tests.
PATIENCE_S = 240.0
# Two scales; an odd size; a thin one; small ones, of which a long test can fill thousands.
_SIZES = ((320, 288), (97, 130), (64, 200), (40, 56), (120, 90))


@dataclass(frozen=True)
class Case:
    """A request, and the answer of each release by its version."""

    image: bytes
    mask: bytes
    answers: dict[str, Pixels]


def make_releases(folder: Path) -> tuple[dict[str, str], list[Case]]:
    """Two releases: their folders by version, and requests with the answers of both."""
    torch.set_num_threads(1)
    releases: dict[str, str] = {}
    networks: dict[str, Inpainter] = {}
    for seed, name in enumerate(("first", "second"), start=1):
        inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=seed)
        config = ReleaseConfig(name, ModelConfig("tiny"), encoder="random (seed 0)")
        saved = save_release(folder / name, inpainter, config, card="For tests.")
        version = f"{name}@{saved.digest[:19]}"
        releases[version], networks[version] = str(folder / name), inpainter
    cases = [_case(height, width, networks) for height, width in _SIZES]
    for case in cases:
        first, second = case.answers.values()
        # Otherwise a mixture of both would pass.
        assert not np.array_equal(first, second)
    return releases, cases


def make_broken_release(folder: Path, whole: Path) -> str:
    """A release like another, but that its networks answer no numbers. Returns its version."""
    inpainter, config = load_release(whole)
    with torch.no_grad():
        inpainter.feature2image.head.get_parameter("conv.bias").fill_(math.nan)
    saved = save_release(folder, inpainter, replace(config, name="broken"), card="For tests.")
    return f"broken@{saved.digest[:19]}"


def upload(case: Case) -> dict[str, tuple[str, bytes]]:
    """A request as httpx2 takes it."""
    return {"image": ("image.png", case.image), "mask": ("mask.png", case.mask)}


def _case(height: int, width: int, networks: dict[str, Inpainter]) -> Case:
    photo, mask = draw_photo(height, width), draw_mask(height, width)
    answers = {
        version: tensor_to_image(inpainter.inpaint(image_to_tensor(photo), mask_to_tensor(mask)))
        for version, inpainter in networks.items()
    }
    return Case(encode(photo), encode(mask), answers)


@dataclass(frozen=True)
class Service:
    """`deploy/serve.yaml`, but for what a small machine and short tests need."""

    raylet: int
    url: str
    cases: list[Case]
    config: dict[str, Any]
    releases: list[tuple[str, str]]

    def deploy(self, release: str, **args: Any) -> None:
        """As `serve deploy` does it; does not wait."""
        from ray import serve
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        application = self.config["applications"][0]
        application["args"] |= {"release": release, **args}
        schema = ServeDeploySchema.model_validate(self.config)
        serve.start(proxy_location="HeadOnly", http_options=schema.http_options.model_dump())
        _get_global_client().deploy_apps(schema)

    def status(self) -> str:
        """The application's state, as `serve status` shows it."""
        from ray import serve

        return str(serve.status().applications["kintsugi"].status.value)

    def roll_out(self, version: str, folder: str) -> float:
        """Deploy a release and wait until it answers. Returns seconds."""
        began = time.monotonic()
        self.deploy(folder)
        self.wait_until(lambda: self.status() == "RUNNING" and self.version() == version, version)
        return time.monotonic() - began

    def version(self) -> str:
        """The version of the release that answers."""
        response = httpx2.get(f"{self.url}/v1/models", timeout=30)
        return response.headers.get("x-model-version", "")

    def wait_until(self, condition: Callable[[], bool], what: str) -> float:
        """Returns how many seconds it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < PATIENCE_S, f"never {what}: {self.status()}"
            time.sleep(0.1)
        return time.monotonic() - began

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            nodes = Client(self.url).ready()
            return bool(nodes) and all(nodes.values()) and self.status() == "RUNNING"

        self.wait_until(ready, "ready")

    def replica(self, name: str) -> int:
        """The process of the only replica of a deployment."""
        (found,) = self.replicas(name)
        return found

    def replicas(self, name: str) -> list[int]:
        return processes(f"ServeReplica:kintsugi:{name}", self.raylet)

    def wait_until_computing(self, name: str) -> int:
        """Wait until the only replica of a deployment uses a processor for half a second.

        Returns its process.
        """
        computing: list[int] = []

        def found() -> bool:
            # One that was just killed is still Serve's replica until Serve has looked.
            before = {pid: processor_seconds(pid) for pid in self.replicas(name) if not gone(pid)}
            time.sleep(0.5)
            computing[:] = [
                pid
                for pid, seconds in before.items()
                if not gone(pid) and processor_seconds(pid) - seconds > 0.1
            ]
            return self.deployment_states(name) == {"RUNNING": 1} and len(computing) == 1

        self.wait_until(found, f"computing: {name}")
        return computing[0]

    def deployment_states(self, name: str) -> dict[str, int]:
        """Replicas of a deployment by their state."""
        from ray import serve

        states = serve.status().applications["kintsugi"].deployments[name].replica_states
        return {str(state): count for state, count in states.items()}

    def is_whole(self) -> bool:
        """Whether as many replicas run as were asked for, of each deployment."""
        asked = self.config["applications"][0]["deployments"]
        return all(
            self.deployment_states(each["name"]) == {"RUNNING": each["num_replicas"]}
            for each in asked
        )

    def calls(self) -> dict[str, int]:
        """Requests that each node's only replica has computed."""
        from ray import serve

        handles = {node: serve.get_deployment_handle(node, "kintsugi") for node in NODES}
        return {node: handle.ready.remote().result().calls for node, handle in handles.items()}

    def lose(self, title: str) -> float:
        """Kill the one process of that title, and wait for its successor. Returns seconds."""
        (victim,) = processes(title, self.raylet)
        since = kill(victim)
        self.wait_until(lambda: gone(victim), f"dead: {title}")
        self.wait_until(
            lambda: bool([pid for pid in processes(title, self.raylet) if not gone(pid)]),
            f"replaced: {title}",
        )
        return time.monotonic() - since


def service_config() -> dict[str, Any]:
    """Deployed nowhere yet."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    port, grpc_port = free_ports(2)
    config["http_options"] |= {"port": port, "request_timeout_s": DEADLINE_SECONDS + 20}
    config["grpc_options"]["port"] = grpc_port
    (application,) = config["applications"]
    application["args"] |= {"threads": 1, "deadline_seconds": DEADLINE_SECONDS}
    # All clients of a test: none shall be refused but in the test of that.
    application["args"]["max_in_progress"] = 20
    for deployment in application["deployments"]:
        # All of it twice on a cluster of two CPUs.
        deployment["ray_actor_options"] = {"num_cpus": 0.1}
        del deployment["autoscaling_config"]
        deployment["num_replicas"] = 1
        deployment["health_check_period_s"] = 1
    return config


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Outcome:
    """What became of one request.

    Attributes:
        status: The HTTP status; 0: no answer.
        code: The code of the problem document, or what was raised.
        version: The version of the release that answered.
        right: Whether the pixels are those of that release.
    """

    began: float
    seconds: float
    status: int
    code: str = ""
    version: str = ""
    right: bool = False


class _CountingClient(Client):
    """The library's client, with a list of what each time it sent came to."""

    def __init__(self, url: str, tries: list[str], *, max_retries: int) -> None:
        super().__init__(url, timeout_seconds=DEADLINE_SECONDS + 40, max_retries=max_retries)
        self._tries = tries

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Response:
        try:
            response = super()._request(method, path, body, headers)
        except (OSError, HTTPException) as error:
            self._tries.append(type(error).__name__)
            raise
        words = [str(response.status)]
        if response.headers.get_content_type() == "application/problem+json":
            words.append(json.loads(response.body)["code"])
        if "retry-after" in response.headers:
            words.append("with retry-after")
        self._tries.append(" ".join(words))
        return response


@dataclass
class Load:
    """Clients that each send the next request when the last was answered.

    Attributes:
        outcomes: What became of each request.
        tries: What came each time one was sent: more than outcomes where the library asks again.
    """

    service: Service
    clients: int
    max_retries: int
    outcomes: list[Outcome] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        client = _CountingClient(self.service.url, self.tries, max_retries=self.max_retries)
        while not self._ended.is_set():
            outcome = ask(client, self.service.cases[number % len(self.service.cases)])
            self.outcomes.append(outcome)
            number += 1
            if outcome.status == 0:
                # Refused connections at full speed would take the processor from who is to
                # come back.
                self._ended.wait(0.1)

    def end(self) -> None:
        self._ended.set()

    def more(self, count: int) -> None:
        """Wait until so many more requests have succeeded."""
        wanted = self.succeeded() + count
        self.service.wait_until(lambda: self.succeeded() >= wanted, f"{count} more answers")

    def succeeded(self) -> int:
        return sum(outcome.right for outcome in self.outcomes)

    def failures(self) -> list[Outcome]:
        """All but right answers."""
        return [outcome for outcome in self.outcomes if not outcome.right]

    def versions(self) -> set[str]:
        return {outcome.version for outcome in self.outcomes}

    def report(self) -> str:
        """How many requests were answered rightly, wrongly or not at all, and what each try got.

        More tries than requests: the library asks again by itself after a 503 or a broken
        connection, and who calls it sees a slower answer and no error.
        """
        wrong = sum(one.status == 200 for one in self.failures())
        seconds = [one.seconds for one in self.outcomes]
        return (
            f"{len(self.outcomes)} requests: {self.succeeded()} right, {wrong} wrong,"
            f" {len(self.failures()) - wrong} errors or lost; each time one was sent:"
            f" {dict(Counter(self.tries))}; median {np.median(seconds):.2f} s,"
            f" slowest {max(seconds):.1f} s"
        )


@contextmanager
def load(service: Service, *, clients: int = 3, max_retries: int = 0) -> Iterator[Load]:
    """Requests until the block ends, and until the last of them is answered."""
    running = Load(service, clients, max_retries)
    threads = [threading.Thread(target=running.run, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        running.more(2 * clients)
        yield running
    finally:
        running.end()
        for thread in threads:
            thread.join()


def ask(client: Client, case: Case) -> Outcome:
    """Send one request, and judge the answer."""
    began = time.monotonic()
    try:
        answer = client.inpaint(case.image, case.mask)
    except ClientError as error:
        return Outcome(began, time.monotonic() - began, error.status, error.code)
    except (OSError, HTTPException) as error:
        return Outcome(began, time.monotonic() - began, 0, type(error).__name__)
    version = answer.model_version
    right = version in case.answers and np.array_equal(decode(answer.data), case.answers[version])
    return Outcome(began, time.monotonic() - began, 200, "", version, right)
