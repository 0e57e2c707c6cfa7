"""The arithmetic of the load, against servers with known behaviour."""

import asyncio
import itertools
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Received
from starlette.responses import Response
from starlette.routing import Route

from kintsugi.benchmarks.serve.load import (
    LoadAnswer,
    check_answered,
    closed_loop,
    open_loop,
    open_sender,
    percentile,
    schedule,
    summary,
)
from kintsugi.benchmarks.serve.memory import tree_bytes, watched
from kintsugi.benchmarks.serve.requests import PreparedRequest, make_request
from kintsugi.benchmarks.serve.serve_plan import ServeCase, ServePlan
from kintsugi.errors import ConfigError
from tests.http_server import serving as serving_app

# The first request that a server lets wait.
FIRST = 10
SENT = PreparedRequest(ServeCase(64, 0.2), b"", b"", b"form", "multipart/form-data; boundary=b")


def serving(answer: Callable[[Received], Awaitable[Response]]) -> AbstractContextManager[str]:
    return serving_app(Starlette(routes=[Route("/v1/inpaint", answer, methods=["POST"])]))


def load(url: str, moments: list[float], timeout_seconds: float = 20) -> list[LoadAnswer]:
    async def run() -> list[LoadAnswer]:
        async with open_sender(url, api_key="", timeout_seconds=timeout_seconds) as sender:
            return await open_loop(sender, SENT, moments)

    return asyncio.run(run())


def test_moments_of_arrival() -> None:
    assert schedule(4, 1, "fixed", 0) == [0, 0.25, 0.5, 0.75]
    assert schedule(0.1, 1, "poisson", 0) == [0]
    moments = schedule(50, 40, "poisson", 1)
    assert moments == schedule(50, 40, "poisson", 1) != schedule(50, 40, "poisson", 2)
    assert moments[0] == 0
    gaps = np.diff(moments)
    assert len(moments) == 2000
    # Exponential: mean and deviation are both 1 / rate.
    assert gaps.mean() == pytest.approx(0.02, rel=0.1)
    assert gaps.std() == pytest.approx(0.02, rel=0.15)


def test_percentiles() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7


@pytest.mark.slow
def test_a_server_that_stands_still_delays_all_that_was_due_meanwhile() -> None:
    goes_on = asyncio.Event()
    numbers = itertools.count()

    async def answer(request: Received) -> Response:
        await request.body()
        number = next(numbers)
        # It stands still from one request on, until one that is due a second later has come:
        # who asks one after the other would wait for ever.
        if number == FIRST + 20:
            goes_on.set()
        elif number >= FIRST:
            await goes_on.wait()
        return Response(b"image")

    with serving(answer) as url:
        answers = load(url, schedule(20, 3, "fixed", 0))
    assert summary(answers)["statuses"] == {"200": 60}
    # Each counts from when it was due, and so has waited for what was left of that second.
    waited = [answer.seconds for answer in answers[FIRST : FIRST + 20]]
    left = [answers[FIRST + 20].due - answer.due for answer in answers[FIRST : FIRST + 20]]
    assert left[0] == pytest.approx(1.0, abs=0.01)
    assert all(has > least - 0.01 for has, least in zip(waited, left, strict=True))


@pytest.mark.slow
def test_what_is_refused_is_counted_apart() -> None:
    numbers = itertools.count()

    async def answer(request: Received) -> Response:
        await request.body()
        if turn := next(numbers) % 4:
            headers = {"retry-after": "2"} if turn < 3 else {}
            return Response(b"busy", 503, headers)
        await asyncio.sleep(0.2)
        return Response(b"image")

    with serving(answer) as url:
        answers = load(url, schedule(40, 0.5, "fixed", 0))
    figures = summary(answers)
    assert figures["requests"] == 20
    assert figures["statuses"] == {"200": 5, "503": 15}
    assert figures["refused_with_retry_after"] == 10
    # Of the images alone, and of the others alone.
    images, others = (
        sorted(answer.seconds for answer in answers if (answer.status == 200) == wanted)
        for wanted in (True, False)
    )
    assert figures["seconds"] == {"p50": images[2], "p95": images[-1], "p99": images[-1]}
    assert figures["refused_p99_seconds"] == others[-1]
    assert images[0] >= 0.2


def test_no_answer_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        figures = summary(load(url, [0, 0.1], timeout_seconds=0.3))
    assert figures["statuses"] == {"0": 2}
    assert figures["seconds"] == {"p50": None, "p95": None, "p99": None}


@pytest.mark.slow
def test_as_many_at_a_time_as_asked_for() -> None:
    now, most = 0, 0

    async def answer(request: Received) -> Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.1)
        now -= 1
        return Response(b"image", 200 if request.headers.get("x-api-key") == "k" else 401)

    async def run(key: str) -> float:
        async with open_sender(url, api_key=key, timeout_seconds=20) as sender:
            return await closed_loop(sender, SENT, in_flight=3, count=9)

    with serving(answer) as url:
        rate = asyncio.run(run("k"))
        assert most == 3
        # Three rounds of a tenth of a second, and what the machine adds.
        assert 0 < rate <= 30
        with pytest.raises(ConfigError, match="KINTSUGI_API_KEY"):
            asyncio.run(run("wrong"))


def test_memory_of_a_process_and_what_it_started() -> None:
    hold = "x = bytearray(60_000_000); print(flush=True); input()"
    script = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {hold!r}], stdin=sys.stdin); child.wait()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert tree_bytes(process.pid) > 60_000_000

        async def watch() -> dict[str, int] | None:
            async with watched(process.pid) as seen:
                await asyncio.sleep(0.05)
            return seen.to_dict()

        figures = asyncio.run(watch())
        assert figures is not None
        assert figures["highest"] >= figures["before"] > 60_000_000
        process.communicate(b"\n")
    assert tree_bytes(process.pid) == 0


def test_a_request_has_the_hole_it_says() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    request = make_request(photo, ServeCase(128, 0.25))
    for part in (b'name="image"; filename=', request.image, b'name="mask"', request.mask):
        assert part in request.body
    from kintsugi.imaging.codec import ImageLimits, decode_image, decode_mask

    assert decode_image(request.image, ImageLimits()).pixels.shape == (128, 128, 3)
    assert decode_mask(request.mask, ImageLimits()).mean() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sizes": [32]}, "32"),
        ({"holes": [1.5]}, "1.5"),
        ({"holes": []}, "at least one"),
        ({"arrivals": "bursts"}, "bursts"),
        ({"rate": -1}, "rate -1"),
        ({"seconds": 0}, "seconds"),
    ],
)
def test_what_cannot_be_measured(wrong: dict[str, object], named: str, tmp_path: object) -> None:
    with pytest.raises(ConfigError, match=named):
        ServePlan(release="r", **wrong)  # type: ignore[arg-type]


def test_where_no_service_is_that_is_said() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (answer,) = load(f"http://127.0.0.1:{unused.getsockname()[1]}", [0.0])
    with pytest.raises(ConfigError, match="no service answers: see that it runs where --url says"):
        check_answered(answer)
