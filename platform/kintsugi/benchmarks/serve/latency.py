"""How long a fill takes by megapixels and share of hole, next to other methods, in one run.

In each round every method fills the case once, one after the other, so that what else the machine
does falls on all of them. Each method that is no service has a process of its own, which is there
for the whole table: its memory is nobody else's.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from kintsugi.benchmarks.match.inputs import read_photo
from kintsugi.benchmarks.serve.cluster_service import running_service
from kintsugi.benchmarks.serve.latency_plan import GRAPH, PROCESS, LatencyPlan
from kintsugi.benchmarks.serve.latency_worker import MeasuredFill, serve
from kintsugi.benchmarks.serve.load import OK, Sender, open_sender
from kintsugi.benchmarks.serve.memory import tree_bytes, tree_seconds
from kintsugi.benchmarks.serve.requests import PreparedRequest, make_request
from kintsugi.benchmarks.serve.serve_plan import ServeCase, ServePlan
from kintsugi.devices import check_device
from kintsugi.errors import ConfigError

Say = Callable[[str], object]
# As the service reads them; what is measured is no limit of its.
_SETTINGS = {"max_pixels": 64_000_000, "max_bytes": 250_000_000, "max_json_bytes": 250_000_000}
_LOOK_SECONDS = 0.05
# Processor seconds of a fill from which on what its method loads at first is no part to speak of:
# it counts, though nothing was warmed up.
_LONG_SECONDS = 5.0


class Filler(Protocol):
    """A method that can be timed."""

    def fill(self, request: PreparedRequest) -> MeasuredFill:
        """Fill once."""
        ...


@dataclass
class LatencyRow:
    """What one method took for one case.

    Attributes:
        case: Size and hole.
        method: Its name.
        fills: The fills of every round; a problem ends them.
        left_out: Why there are none; "" where there are.
    """

    case: ServeCase
    method: str
    fills: list[MeasuredFill] = field(default_factory=list)
    left_out: str = ""

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> "LatencyRow":
        """What `to_dict` gave."""
        fills = [MeasuredFill(**fill) for fill in row["fills"]]
        return LatencyRow(
            ServeCase(row["side_px"], row["hole_share"]), row["method"], fills, row["left_out"]
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "megapixels": self.case.megapixels,
            "side_px": self.case.side_px,
            "hole_share": self.case.hole_share,
            "method": self.method,
            "fills": [asdict(fill) for fill in self.fills],
            "left_out": self.left_out,
        }


def run_latency(
    plan: LatencyPlan, say: Say, before: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Measure the table, which takes hours.

    Args:
        plan: What is measured.
        say: Is called with a line for each case and method.
        before: Figures of an earlier call with the same plan; the cases that it has are kept.

    Yields: figures for JSON and `latency_report`, with one case more each time; at least once.

    Raises:
        StorageError: No release or photograph, or the service does not come up.
        ConfigError: A method is not installed, the device is not here, or ``before`` has another
            plan.
    """
    check_device(plan.device)
    rows = _rows_before(plan, before)
    if {row.case for row in rows} >= set(plan.cases()):
        yield _figures(plan, rows)
        return
    photo = read_photo(plan.photo)
    with ExitStack() as stack:
        fillers = {name: stack.enter_context(_filler(plan, name)) for name in plan.methods}
        for done in measure(plan, fillers, lambda case: make_request(photo, case), say, rows):
            yield _figures(plan, done)


def _settings(plan: LatencyPlan) -> dict[str, Any]:
    """What figures must share to stand in one table."""
    return {
        "release": plan.release,
        "photo": plan.photo,
        "device": plan.device,
        "rounds": plan.rounds,
        "limit": plan.limit,
        "threads": plan.threads,
        "methods": list(plan.methods),
        "cores": len(os.sched_getaffinity(0)),
    }


def _figures(plan: LatencyPlan, rows: Sequence[LatencyRow]) -> dict[str, Any]:
    load = os.getloadavg()[0]
    return {**_settings(plan), "load_average": load, "rows": [row.to_dict() for row in rows]}


def _rows_before(plan: LatencyPlan, before: Mapping[str, Any] | None) -> list[LatencyRow]:
    if before is None:
        return []
    for name, value in _settings(plan).items():
        if before.get(name) != value:
            raise ConfigError(
                f"the figures that are there have {name}={before.get(name)!r}, and this run"
                f" {value!r}: write them to another file"
            )
    return [LatencyRow.from_dict(row) for row in before["rows"]]


def measure(
    plan: LatencyPlan,
    fillers: dict[str, Filler],
    request_of: Callable[[ServeCase], PreparedRequest],
    say: Say,
    before: Sequence[LatencyRow] = (),
) -> Iterator[list[LatencyRow]]:
    """Every case by every method, in rounds; see `LatencyPlan.limit`.

    Args:
        plan: The cases, rounds and limit.
        fillers: The methods by name.
        request_of: Makes the request of a case.
        say: See `run_latency`.
        before: Rows that are there already.

    Yields: all rows, those of one case more each time.
    """
    rows = list(before)
    there = {row.case for row in rows}
    too_slow = {
        (row.method, row.case.hole_share): _too_slow(plan)
        for row in rows
        if _is_over(row.fills, plan.limit)
    }
    for case in plan.cases():
        if case in there:
            continue
        row = {name: LatencyRow(case, name) for name in fillers}
        rows += row.values()
        for name, each in row.items():
            each.left_out = too_slow.get((name, case.hole_share), "")
        request = request_of(case)
        for number in range(plan.rounds + 1):
            for name, filler in fillers.items():
                each = row[name]
                done_with = len(each.fills) == plan.rounds or _is_over(each.fills, plan.limit)
                if each.left_out or done_with:
                    continue
                done = filler.fill(request)
                if done.problem:
                    each.left_out = done.problem
                elif number or done.seconds > plan.limit or done.cpu_seconds >= _LONG_SECONDS:
                    # The first fill of a case loads what later ones have.
                    each.fills.append(done)
        for name, each in row.items():
            if _is_over(each.fills, plan.limit):
                too_slow[name, case.hole_share] = _too_slow(plan)
            took = [fill.seconds for fill in each.fills]
            say(f"{case}: {name} {each.left_out or f'{min(took):.2f} s'}")
        yield rows


def _too_slow(plan: LatencyPlan) -> str:
    return f"over {plan.limit:g} s at a smaller size"


def _is_over(fills: list[MeasuredFill], limit: float) -> bool:
    return any(fill.seconds > limit for fill in fills)


@contextmanager
def _filler(plan: LatencyPlan, method: str) -> Iterator[Filler]:
    if method != GRAPH:
        with _in_process(plan, method) as filler:
            yield filler
        return
    settings = {**_SETTINGS, "deadline_seconds": plan.limit * 4}
    service = ServePlan(plan.release, url=plan.url, pid=plan.pid, api_key=plan.api_key)
    with running_service(service, settings) as (url, pid):
        yield _Service(url, pid, plan.api_key, plan.limit * 4)


class _Service:
    """The graph, over HTTP; from the moment a request is sent to the end of its answer."""

    def __init__(self, url: str, pid: int, api_key: str, timeout_seconds: float) -> None:
        self._url, self._pid, self._api_key = url, pid, api_key
        self._timeout_seconds = timeout_seconds

    def fill(self, request: PreparedRequest) -> MeasuredFill:
        return asyncio.run(self._fill(request))

    async def _fill(self, request: PreparedRequest) -> MeasuredFill:
        before, seconds_before = tree_bytes(self._pid), tree_seconds(self._pid)
        highest = before
        async with open_sender(
            self._url, api_key=self._api_key, timeout_seconds=self._timeout_seconds
        ) as sender:
            task = asyncio.create_task(self._send(sender, request))
            while not task.done():
                await asyncio.wait([task], timeout=_LOOK_SECONDS)
                if self._pid:
                    highest = max(highest, tree_bytes(self._pid))
            answer = task.result()
        if answer.status != OK:
            return MeasuredFill(0.0, 0.0, 0, problem=f"HTTP {answer.status or 'nothing'}")
        cpu = tree_seconds(self._pid) - seconds_before if self._pid else 0.0
        return MeasuredFill(answer.seconds, cpu, highest - before)

    async def _send(self, sender: Sender, request: PreparedRequest) -> Any:
        return await sender.send(request, time.perf_counter())


@contextmanager
def _in_process(plan: LatencyPlan, method: str) -> Iterator[Filler]:
    # Spawned: a fork would have this process's memory.
    context = get_context("spawn")
    here, there = context.Pipe()
    # The others have no networks, and so nothing on a GPU.
    release, device = (plan.release, plan.device) if method == PROCESS else ("", "cpu")
    process = context.Process(
        target=serve, args=(there, method, release, device, plan.threads), daemon=True
    )
    process.start()
    there.close()
    try:
        yield _Child(here)
    finally:
        here.close()
        process.join()


class _Child:
    """A method in a process of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fill(self, request: PreparedRequest) -> MeasuredFill:
        try:
            self._connection.send((request.image, request.mask))
            done: MeasuredFill = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return MeasuredFill(0.0, 0.0, 0, problem="its process ended, as for memory")
        return done
