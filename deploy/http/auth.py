"""Which clients may ask, and how often, before bodies are read: keys and rates; knows no route."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from kintsugi.deploy.admission.api_keys import KeyFile
from kintsugi.deploy.admission.gate import Gate
from kintsugi.deploy.http.middleware import whole_number
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.release_files import ROOT
from kintsugi.deploy.settings import AppArgs

HEADER = "x-api-key"


class RateLimit:
    """A bucket of tokens for each name: one image takes one, and they come back with time."""

    def __init__(
        self, per_minute: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> float:
        """0, or how many seconds this name has to wait before its next request."""
        now = self._clock()
        tokens, then = self._buckets.get(name, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_second
        self._buckets[name] = (tokens - 1 if wait == 0 else tokens, now)
        return wait

    def charge(self, name: str, tokens: int) -> None:
        """Take tokens that may not be there: the next request waits until they have come back.

        Args:
            name: Whose.
            tokens: So many; below 0 they are given back.
        """
        now = self._clock()
        left, then = self._buckets.get(name, (float(self._burst), now))
        self._buckets[name] = (min(float(self._burst), left - tokens), then)


class Taken:
    """What one request has taken of its key's rate."""

    def __init__(self, rate: RateLimit, name: str) -> None:
        """It has taken one token."""
        self._rate = rate
        self._name = name
        self._tokens = 1

    def count(self, images: int) -> None:
        """So many images are made of it."""
        self._rate.charge(self._name, images - self._tokens)
        self._tokens = images

    def give_back(self) -> None:
        """It was not done, for no fault of its sender's."""
        self.count(0)


def count_images(request: Request, images: int) -> None:
    """A request makes so many images: each counts in the rate of its key, if it has one."""
    taken = getattr(request.state, "taken", None)
    if taken is not None:
        taken.count(images)


class Access:
    """Refuses a request before its body is read; as a dependency of a route."""

    def __init__(self, keys: KeyFile, rate: RateLimit | None) -> None:
        self._keys = keys
        self._rate = rate

    async def __call__(self, request: Request) -> None:
        """Raises: Problem 401 `key_missing`, 403 `key_wrong`, `key_expired`, 429 `rate_limited`."""
        key = request.headers.get(HEADER, "")
        if not key:
            raise Problem(
                401,
                "key_missing",
                detail="the service asks for an API key",
                hint=f"send it in the header {HEADER}",
                headers={"www-authenticate": f'ApiKey header="{HEADER}"'},
            )
        found = self._keys.find(key)
        if found is None:
            raise Problem(
                403,
                "key_wrong",
                detail="the API key is not one of the service's",
                hint="look whether it was copied whole, or ask the operator for a new one",
            )
        if self._keys.is_expired(found):
            raise Problem(
                403,
                "key_expired",
                detail="the API key was valid until a while ago",
                hint="ask the operator for a new one: what was made with this one stays yours",
            )
        request.state.record.key_name = found.name
        # Only what makes work; asking how a job stands costs nothing.
        if self._rate is not None and request.method == "POST":
            _check_rate(self._rate.take(found.name))
            request.state.taken = Taken(self._rate, found.name)


class BodyAdmission:
    """Takes a place for a request before its body is read; as a dependency of a route, after
    `Access`. `kintsugi.deploy.http.middleware` gives the place back."""

    def __init__(self, gate: Gate, max_bytes: int) -> None:
        self._gate = gate
        self._max_bytes = max_bytes

    async def __call__(self, request: Request) -> None:
        """Raises: Busy, with the seconds after which there is room."""
        declared = whole_number(request.headers.get("content-length", ""))
        # Without a length it is counted as all that it may be.
        size = self._max_bytes if declared is None else declared
        request.state.ticket = self._gate.enter(request.state.record.key_name, size)


def open_keys(args: AppArgs) -> KeyFile | None:
    """The keys of the settings' file; None when the service is open.

    Raises: ConfigError when the file of keys cannot be used.
    """
    return KeyFile(ROOT / Path(args.api_keys).expanduser()) if args.api_keys else None


def guard(args: AppArgs, keys: KeyFile | None) -> Sequence[Any]:
    """The dependencies of every route that asks for a key; none when the service is open."""
    if keys is None:
        return ()
    rate = RateLimit(args.requests_per_minute, args.burst) if args.requests_per_minute else None
    access = Access(keys, rate)
    # Reads nothing: it is what the documentation shows.
    documented = APIKeyHeader(
        name=HEADER, auto_error=False, description="One of the service's API keys"
    )
    return (Depends(access), Security(documented))


def _check_rate(wait: float) -> None:
    if wait > 0:
        seconds = math.ceil(wait)
        raise Problem(
            429,
            "rate_limited",
            detail="this API key has sent too many requests",
            hint=f"send the same request again in {seconds} seconds",
            headers={"retry-after": str(seconds)},
        )
