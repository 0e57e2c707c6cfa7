"""The laptop's service as a process of its own, with a tiny release: to be attacked."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release
from kintsugi.servers.processes import free_ports
from tests.deploy.conftest import draw_mask, draw_photo, encode

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 120
_RUN = """
import json, sys
from kintsugi.deploy.settings import AppArgs
from kintsugi.deploy.standalone import serve_in_process
given = json.loads(sys.argv[1])
port = given.pop("port")
serve_in_process(AppArgs(**given), host="127.0.0.1", port=port, on_ready=print)
"""

PHOTO, MASK = encode(draw_photo(160, 200)), encode(draw_mask(160, 200))


def publish_tiny(folder: Path) -> str:
    """A release of tiny networks."""
    inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=1)
    config = ReleaseConfig("tiny", ModelConfig("tiny"), encoder="random (seed 0)")
    save_release(folder, inpainter, config, card="For tests.")
    return str(folder)


@dataclass
class Laptop:
    """A running service.

    Attributes:
        url: Where it answers.
        log: What it writes.
    """

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path
    # One for all threads: a client of its own for each request costs more than the request.
    client: httpx2.Client = field(
        default_factory=lambda: httpx2.Client(
            timeout=900,
            # Sooner than the service, which ends what is idle for five seconds.
            limits=httpx2.Limits(keepalive_expiry=1),
        )
    )

    def get(self, path: str, **more: Any) -> httpx2.Response:
        """What is at a path."""
        return self.client.get(f"{self.url}{path}", **more)

    def post(self, image: bytes = PHOTO, mask: bytes = MASK, **more: Any) -> httpx2.Response:
        """One fill."""
        files = {"image": ("image.bin", image), "mask": ("mask.bin", mask)}
        path, fields = more.pop("path", "/v1/inpaint"), more.pop("fields", {})
        return self.client.post(f"{self.url}{path}", files=files, data=fields, **more)

    def counted(self, metric: str) -> float:
        """A figure of /metrics, by its name and labels; 0 while it has none."""
        lines = self.get("/metrics").text.splitlines()
        values = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return sum(float(value) for name, _, value in values if name == metric)

    def processor_seconds(self) -> float:
        """What all of its processes have used so far, those that have ended among them."""
        return sum(_processor_seconds(pid) for pid in family(self.process.pid))

    def own_bytes(self) -> int:
        """Memory of its own process, which holds every node; files are opened in others."""
        return _proportional_bytes(self.process.pid)

    def bytes_held(self) -> int:
        """Memory of all of its processes, what they share counted once.

        Not what is mapped from files: how much of a library counts as a process's own depends on
        who else on the machine has it open.
        """
        return sum(_proportional_bytes(pid) for pid in family(self.process.pid))

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End it. Returns: after how many seconds it was gone."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(120)
        return time.monotonic() - began


@contextmanager
def laptop(folder: Path, release: str, **settings: Any) -> Iterator[Laptop]:
    """Start it; ended with the block."""
    (port,) = free_ports(1)
    given = {"release": release, "threads": 1, "port": port, **settings}
    log = folder / f"laptop-{port}.log"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, json.dumps(given)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Laptop(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: _answers(running), "ready", _START_SECONDS, running)
        yield running
    finally:
        running.client.close()
        if process.poll() is None:
            process.kill()
        process.wait()


def _answers(running: Laptop) -> bool:
    assert running.process.poll() is None, running.log.read_text()[-3000:]
    try:
        return running.get("/readyz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def wait_until(
    condition: Callable[[], bool], what: str, seconds: float, running: Laptop | None = None
) -> float:
    """Returns how many seconds it took."""
    began = time.monotonic()
    while not condition():
        said = running.log.read_text()[-3000:] if running else ""
        assert time.monotonic() - began < seconds, f"never {what}: {said}"
        time.sleep(0.1)
    return time.monotonic() - began


def family(pid: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _processor_seconds(pid: int) -> float:
    """Of a process, and of its children that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        # It has ended.
        return 0
    own = ("Pss_Anon:", "Pss_Shmem:")
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(own))


class PeakMemory:
    """The most bytes that a service held while the block ran."""

    def __init__(self, running: Laptop) -> None:
        self._running = running
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = running.bytes_held()
        self.peak = self.before
        self.own_before = self.own_peak = running.own_bytes()

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def growth_mib(self) -> float:
        return (self.peak - self.before) / 2**20

    @property
    def own_growth_mib(self) -> float:
        return (self.own_peak - self.own_before) / 2**20

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.own_peak = max(self.own_peak, self._running.own_bytes())
            self.peak = max(self.peak, self._running.bytes_held())


@dataclass
class Clients:
    """Clients that each send the next request when the last was answered.

    Attributes:
        answers: (status, seconds) of each request, in the order in which they were answered.
    """

    send: Callable[[], httpx2.Response]
    count: int
    answers: list[tuple[int, float]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            status = self.send().status_code
            self.answers.append((status, time.monotonic() - began))

    def end(self) -> None:
        self._ended.set()


@contextmanager
def asking(*clients: Clients) -> Iterator[None]:
    """Have them ask until the block ends, and wait for their last answers."""
    with ThreadPoolExecutor(sum(one.count for one in clients)) as pool:
        running = [pool.submit(one.run) for one in clients for _ in range(one.count)]
        try:
            yield
        finally:
            for one in clients:
                one.end()
    for task in running:
        task.result()


def percentile(seconds: list[float], share: float) -> float:
    """The nearest-rank percentile."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
