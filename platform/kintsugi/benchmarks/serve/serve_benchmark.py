"""Measures a service: against one process, under even load, and under ten times what it can."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from kintsugi.benchmarks.match.inputs import read_photo
from kintsugi.benchmarks.serve.cluster_service import running_service
from kintsugi.benchmarks.serve.in_process import InProcess
from kintsugi.benchmarks.serve.load import (
    Sender,
    check_answered,
    closed_loop,
    open_loop,
    open_sender,
    schedule,
    summary,
)
from kintsugi.benchmarks.serve.memory import watched
from kintsugi.benchmarks.serve.requests import PreparedRequest, make_request
from kintsugi.benchmarks.serve.serve_plan import ServePlan
from kintsugi.inference.methods import open_release

Say = Callable[[str], object]

# Requests on their way at one time when it is measured how many a second the service answers.
_BUSY = 2
# Requests for each throughput; so many that the first and the last, which share nothing, count
# little.
_COUNT = 8
# Share of what it answers that leaves a service as good as idle.
_IDLE = 0.2


def run_benchmark(plan: ServePlan, say: Say) -> dict[str, Any]:
    """Measure what the plan asks for. Returns: figures for JSON and `report.format_report`.

    Raises:
        StorageError: No release or photograph, or the service does not come up.
        ConfigError: The service answers with errors.
    """
    photo = read_photo(plan.photo)
    requests = [make_request(photo, case) for case in plan.cases()]
    inpainter, config = open_release(plan.release)
    with running_service(plan) as (url, pid):
        figures = asyncio.run(_measure(plan, requests, InProcess(inpainter), Target(url, pid, say)))
    return {
        "release": f"{config.name} ({config.model.size})",
        "photo": plan.photo,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        **figures,
    }


class Target:
    """The service that is measured.

    Attributes:
        url: Its address.
        pid: The number of the process below which all of it runs; 0 for unknown.
        say: Called with what is done.
    """

    def __init__(self, url: str, pid: int, say: Say) -> None:
        self.url = url
        self.pid = pid
        self.say = say


async def _measure(
    plan: ServePlan, requests: list[PreparedRequest], local: InProcess, target: Target
) -> dict[str, Any]:
    figures: dict[str, Any] = {"url": target.url}
    async with open_sender(
        target.url, api_key=plan.api_key, timeout_seconds=plan.timeout_seconds
    ) as sender:
        for request in requests:
            # What is done once, at the first request of a size, is not measured.
            check_answered(await sender.send(request, time.perf_counter(), keep_body=True))
        first = requests[0]
        if plan.rounds:
            target.say(f"{first.case}: service and one process take turns")
            figures["comparison"] = await compare(plan, sender, local, first)
        figures["loads"] = []
        for request in requests:
            target.say(f"{request.case}: {plan.arrivals} arrivals for {plan.seconds:g} s")
            figures["loads"].append(await even_load(plan, sender, request))
        if plan.overload:
            target.say(f"{first.case}: {plan.overload:g} times what it answers")
            figures["overload"] = await overload(plan, sender, first, target.pid)
    return figures


async def compare(
    plan: ServePlan, sender: Sender, local: InProcess, request: PreparedRequest
) -> dict[str, Any]:
    """Service and one process in turns, both from encoded files to an encoded image."""
    served: list[float] = []
    alone: list[float] = []
    two: list[float] = []
    best: list[float] = []
    by_way: list[Mapping[str, float]] = []
    same = True
    await asyncio.to_thread(local.seconds, request, plan.threads)
    for _ in range(plan.rounds):
        answer = await sender.send(request, time.perf_counter(), keep_body=True)
        check_answered(answer)
        same = same and answer.body == await asyncio.to_thread(local.answer, request)
        served.append(answer.seconds)
        alone.append(await asyncio.to_thread(local.seconds, request, plan.threads))
        two.append(await closed_loop(sender, request, in_flight=2, count=_COUNT))
        by_way.append(await asyncio.to_thread(local.throughput, request, _COUNT, plan.threads))
        best.append(max(by_way[-1].values()))
    return {
        **_case(request),
        "same_image": same,
        "service_seconds": served,
        "process_seconds": alone,
        "times_as_long": median(one / other for one, other in zip(served, alone, strict=True)),
        "service_two_in_flight_per_second": two,
        "process_per_second": by_way,
        "share_of_best": median(one / other for one, other in zip(two, best, strict=True)),
    }


async def even_load(plan: ServePlan, sender: Sender, request: PreparedRequest) -> dict[str, Any]:
    """Requests at a rate that the service can answer."""
    capacity = await closed_loop(sender, request, in_flight=_BUSY, count=_COUNT)
    rate = plan.rate or capacity / 2
    moments = schedule(rate, plan.seconds, plan.arrivals, plan.seed)
    seen = summary(await open_loop(sender, request, moments))
    megapixels = float(str(seen["answered_per_second"])) * request.case.megapixels
    return {
        **_case(request),
        "capacity_per_second": capacity,
        "rate": rate,
        "megapixels_per_second": megapixels,
        "capacity_megapixels_per_second": capacity * request.case.megapixels,
        **seen,
    }


async def overload(
    plan: ServePlan, sender: Sender, request: PreparedRequest, pid: int
) -> dict[str, Any]:
    """The service almost idle, then with many times what it answers."""
    capacity = await closed_loop(sender, request, in_flight=_BUSY, count=_COUNT)
    idle = schedule(capacity * _IDLE, plan.seconds, "fixed", plan.seed)
    unloaded = summary(await open_loop(sender, request, idle))
    moments = schedule(capacity * plan.overload, plan.seconds, plan.arrivals, plan.seed)
    async with watched(pid) as memory:
        loaded = summary(await open_loop(sender, request, moments))
        # What is still held when all have been answered shows now.
        await asyncio.sleep(1)
    return {
        **_case(request),
        "times": plan.overload,
        "capacity_per_second": capacity,
        "unloaded": unloaded,
        "loaded": loaded,
        "memory_bytes": memory.to_dict(),
    }


def _case(request: PreparedRequest) -> dict[str, Any]:
    case = request.case
    return {"side_px": case.side_px, "hole_share": case.hole_share}
