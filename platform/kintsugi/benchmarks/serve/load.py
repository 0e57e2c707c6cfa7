"""Requests at their moments, whatever becomes of those before them; knows no image.

Open loop: a service that stands still for a second delays every request of that second, and
each counts from the moment it was due. A client that waits for each
answer before it asks again would leave these out.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.benchmarks.serve.requests import PreparedRequest
from kintsugi.benchmarks.serve.serve_plan import Arrivals
from kintsugi.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

OK = 200
NO_ANSWER = 0


@dataclass(frozen=True)
class LoadAnswer:
    """What came of one request.

    Attributes:
        due: Second of the run at which it was to be sent.
        late: Seconds by which it was sent later; what the sender itself adds.
        seconds: From when it was due to the end of the answer.
        status: The HTTP status; 0 when there was no answer.
        says_when: Whether it said after how long to ask again.
        body: The body of the answer, where it was to be kept; else empty.
    """

    due: float
    late: float
    seconds: float
    status: int
    says_when: bool
    body: bytes = b""


class Sender:
    """Sends to one service; any number of requests at a time."""

    def __init__(self, client: "httpx2.AsyncClient") -> None:
        self._client = client

    async def send(
        self, request: PreparedRequest, due: float, *, keep_body: bool = False
    ) -> LoadAnswer:
        """Send now what was due at ``due`` (`time.perf_counter`); its answer, whatever it is."""
        import httpx2

        late = time.perf_counter() - due
        headers = {"content-type": request.content_type}
        try:
            response = await self._client.post("/v1/inpaint", content=request.body, headers=headers)
        except httpx2.TransportError:
            return LoadAnswer(due, late, time.perf_counter() - due, NO_ANSWER, False)
        seconds = time.perf_counter() - due
        says_when = "retry-after" in response.headers
        body = response.content if keep_body else b""
        return LoadAnswer(due, late, seconds, response.status_code, says_when, body)


@asynccontextmanager
async def open_sender(url: str, *, api_key: str, timeout_seconds: float) -> AsyncIterator[Sender]:
    """Open a sender without a limit of connections. Raises: ConfigError: no httpx2."""
    try:
        import httpx2
    except ImportError as error:
        raise ConfigError(f"{error}: pip install httpx2, which the extra dev has") from error
    async with httpx2.AsyncClient(
        base_url=url,
        headers={"x-api-key": api_key} if api_key else {},
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        timeout=timeout_seconds,
        trust_env=False,
    ) as client:
        yield Sender(client)


def schedule(rate: float, seconds: float, arrivals: Arrivals, seed: int) -> list[float]:
    """Moments in seconds at which requests are due: at least one.

    Args:
        rate: Requests a second.
        seconds: How long the load lasts.
        arrivals: "poisson": with independent gaps, as from many people; "fixed": with equal ones.
        seed: Decides the gaps.
    """
    count = max(1, round(rate * seconds))
    if arrivals == "fixed":
        return [index / rate for index in range(count)]
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    moments: list[float] = (np.cumsum(gaps) - gaps[0]).tolist()
    return moments


async def open_loop(
    sender: Sender, request: PreparedRequest, moments: Sequence[float]
) -> list[LoadAnswer]:
    """Send each request at its moment, and wait for all answers at the end."""
    start = time.perf_counter()
    tasks = []
    for moment in moments:
        await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
        tasks.append(asyncio.create_task(sender.send(request, start + moment)))
    answers = await asyncio.gather(*tasks)
    return [_from_start(answer, start) for answer in answers]


async def closed_loop(
    sender: Sender, request: PreparedRequest, *, in_flight: int, count: int
) -> float:
    """Answered requests a second, with always `in_flight` of them on their way.

    Raises: ConfigError: one was not answered with an image.
    """
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            answer = await sender.send(request, time.perf_counter(), keep_body=True)
            check_answered(answer)

    start = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    return count / (time.perf_counter() - start)


def check_answered(answer: LoadAnswer) -> None:
    """Raises: ConfigError when this is no image."""
    if answer.status == NO_ANSWER:
        raise ConfigError(
            "no service answers: see that it runs where --url says (kintsugi serve starts one)"
        )
    if answer.status != OK:
        said = answer.body[:200].decode(errors="replace")
        raise ConfigError(
            f"the service answered {answer.status} {said}: see that it is ready,"
            " takes the sizes, and knows the key in KINTSUGI_API_KEY if it asks for one"
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0-1) of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, int(np.ceil(share * len(ordered))) - 1)]


def summary(answers: Sequence[LoadAnswer]) -> dict[str, object]:
    """What came of a load, for JSON: counts by status, and times of those with an image."""
    times = [answer.seconds for answer in answers if answer.status == OK]
    refused = [answer for answer in answers if answer.status not in (OK, NO_ANSWER)]
    lasted = max(answer.due + answer.seconds for answer in answers)
    return {
        "requests": len(answers),
        "statuses": dict(Counter(str(answer.status) for answer in answers)),
        "refused_with_retry_after": sum(answer.says_when for answer in refused),
        "refused_p99_seconds": percentile([a.seconds for a in refused], 0.99) if refused else None,
        "seconds": {
            f"p{share}": percentile(times, share / 100) if times else None for share in (50, 95, 99)
        },
        "answered_per_second": len(times) / lasted,
        "sent_late_p99_seconds": percentile([answer.late for answer in answers], 0.99),
    }


def _from_start(answer: LoadAnswer, start: float) -> LoadAnswer:
    due = answer.due - start
    return LoadAnswer(due, answer.late, answer.seconds, answer.status, answer.says_when)
