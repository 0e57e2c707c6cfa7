"""Who may ask, and how often: API keys from a file, a rate for each; knows no route."""

import hashlib
import hmac
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.release_files import ROOT
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import ConfigError

logger = logging.getLogger(__name__)

HEADER = "x-api-key"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What a header can carry without quoting; the colon ends a name.
_KEY = re.compile(r"[!-9;-~]{1,256}")


@dataclass(frozen=True)
class ApiKey:
    """Whose key it is, and its SHA-256: the key itself is not kept."""

    name: str
    digest: bytes


def parse_keys(text: str, source: str) -> list[ApiKey]:
    """Read `key` or `name: key` from each line that is neither empty nor a # comment.

    Several keys may have one name: they share its rate. A key without a name is called
    key-1, key-2, ... by its place.

    Raises: ConfigError naming source and line, never the key.
    """
    keys: list[ApiKey] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, colon, key = stripped.rpartition(":")
        name, key = name.strip() if colon else f"key-{len(keys) + 1}", key.strip()
        if not _NAME.fullmatch(name) or not _KEY.fullmatch(key):
            raise ConfigError(
                f"{source}, line {number}: write `key` or `name: key`; a name has letters,"
                " digits and ._- (at most 64), a key visible ASCII characters but : (at most 256)"
            )
        digest = _digest(key)
        if any(other.digest == digest for other in keys):
            raise ConfigError(f"{source}, line {number}: the key is there already; remove one")
        keys.append(ApiKey(name, digest))
    if not keys:
        raise ConfigError(f"{source}: no key in it; write at least one, or set api_keys to ''")
    return keys


class KeyFile:
    """The keys of a file, read again whenever it changes.

    A file that is gone, empty or broken changes nothing: the keys before it stay, and the
    log says so once.
    """

    def __init__(self, path: Path) -> None:
        """Read it. Raises: ConfigError when it cannot be read or used."""
        self._path = path
        self._seen = _state(path)
        self._keys = self._read()

    def name_of(self, key: str) -> str | None:
        """Whose key this is, or None; takes as long for every key."""
        self._refresh()
        digest, found = _digest(key), None
        for known in self._keys:
            if hmac.compare_digest(known.digest, digest):
                found = known.name
        return found

    def _refresh(self) -> None:
        state = _state(self._path)
        if state == self._seen:
            return
        self._seen = state
        try:
            self._keys = self._read()
        except ConfigError as error:
            logger.error("the API keys stay as they were: %s", error)
        else:
            logger.info("%d API keys read again from %s", len(self._keys), self._path)

    def _read(self) -> list[ApiKey]:
        try:
            text = self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"api_keys={self._path} cannot be read: {error}") from error
        return parse_keys(text, f"api_keys={self._path}")


class RateLimit:
    """A bucket of tokens for each name: one request takes one, and they come back with time."""

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


class Access:
    """Refuses a request before its body is read; as a dependency of a route."""

    def __init__(self, keys: KeyFile, rate: RateLimit | None) -> None:
        self._keys = keys
        self._rate = rate

    async def __call__(self, request: Request) -> None:
        """Raises: Problem 401 `key_missing`, 403 `key_wrong`, 429 `rate_limited`."""
        key = request.headers.get(HEADER, "")
        if not key:
            raise Problem(
                401,
                "key_missing",
                detail="the service asks for an API key",
                hint=f"send it in the header {HEADER}",
                headers={"www-authenticate": f'ApiKey header="{HEADER}"'},
            )
        name = self._keys.name_of(key)
        if name is None:
            raise Problem(
                403,
                "key_wrong",
                detail="the API key is not one of the service's",
                hint="look whether it was copied whole, or ask the operator for a new one",
            )
        request.state.record.key_name = name
        # Only what makes work; asking how a job stands costs nothing.
        if self._rate is not None and request.method == "POST":
            _check_rate(self._rate.take(name))


def guard(args: AppArgs) -> Sequence[Any]:
    """The dependencies of every route that asks for a key; none when the service is open.

    Raises: ConfigError when the file of keys cannot be used.
    """
    if not args.api_keys:
        return ()
    rate = RateLimit(args.requests_per_minute, args.burst) if args.requests_per_minute else None
    access = Access(KeyFile(ROOT / Path(args.api_keys).expanduser()), rate)
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


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does, through links too; None when it is not there."""
    try:
        stat = path.stat()
    except OSError:
        # Reading it says why.
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
