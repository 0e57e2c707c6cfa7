"""API keys of a file: whose each is, what share it has and until when it holds; no HTTP.

What a key's name owns (jobs, a rate, a share of the turns) stays with the name, whatever else
changes in the file. A key without a name is named after its own digest.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kintsugi.errors import ConfigError

logger = logging.getLogger(__name__)

LEAST_LENGTH = 16
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What a header can carry without quoting; the colon ends a name.
_KEY = re.compile(rf"[!-9;-~]{{{LEAST_LENGTH},256}}")
_ATTRIBUTE = re.compile(r"(weight|expires)=(\S+)")
# Hexadecimal digits of a key's digest in the name of one that was given none: 2^48 values.
_NAME_DIGITS = 12
_WEIGHTS = (0.01, 100.0)
_FORM = (
    "write `name: key`, or `key` alone, and after it weight=2 or expires=2027-01-31; a name has"
    f" letters, digits and ._- (at most 64), a key {LEAST_LENGTH} to 256 visible ASCII characters"
    " but :"
)


@dataclass(frozen=True)
class ApiKey:
    """Whose key it is; the key itself is not kept.

    Attributes:
        name: Stable: what it owns is bound to it.
        digest: SHA-256 of the key.
        weight: Share in relation to other names.
        expires: From when on it holds no more, seconds since 1970; None: never.
    """

    name: str
    digest: bytes
    weight: float = 1.0
    expires: float | None = None


def parse_keys(text: str, source: str) -> list[ApiKey]:
    """Read `name: key` or `key` from each line that is neither empty nor a # comment.

    After the key may stand `weight=2`, its share in relation to others (1), and
    `expires=2027-01-31` or a moment such as `2027-01-31T12:00:00+00:00`. Several keys may have
    one name, as during a rotation: they share what is its. A key without a name is called
    `key-` and the start of its digest.

    Raises: ConfigError naming source and line, never the key.
    """
    keys: list[ApiKey] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key = _parse_line(stripped, f"{source}, line {number}")
        if any(other.digest == key.digest for other in keys):
            raise ConfigError(f"{source}, line {number}: the key is there already; remove one")
        keys.append(key)
    if not keys:
        raise ConfigError(f"{source}: no key in it; write at least one, or set api_keys to ''")
    return keys


def _parse_line(line: str, where: str) -> ApiKey:
    words = line.split()
    attributes: dict[str, str] = {}
    while len(words) > 1 and (found := _ATTRIBUTE.fullmatch(words[-1])):
        attributes[found[1]] = found[2]
        words.pop()
    name, colon, key = " ".join(words).rpartition(":")
    name, key = name.strip(), key.strip()
    if not _KEY.fullmatch(key) or (colon and not _NAME.fullmatch(name)):
        raise ConfigError(f"{where}: {_FORM}")
    digest = _digest(key)
    return ApiKey(
        name or f"key-{digest.hex()[:_NAME_DIGITS]}",
        digest,
        _weight(attributes.get("weight", "1"), where),
        _moment(attributes["expires"], where) if "expires" in attributes else None,
    )


def _weight(text: str, where: str) -> float:
    least, most = _WEIGHTS
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not least <= weight <= most:
        raise ConfigError(f"{where}: weight={text[:40]}: a number from {least:g} to {most:g}")
    return weight


def _moment(text: str, where: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{where}: expires={text[:40]}: a day such as 2027-01-31, or a moment with its zone"
            " such as 2027-01-31T12:00:00+00:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class KeyFile:
    """The keys of a file, read again whenever it changes.

    A file that is gone, empty or broken changes nothing: the keys before it stay, and the
    log says so once.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Read it. Raises: ConfigError when it cannot be read or used."""
        self._path = path
        self._clock = clock
        self._seen = _state(path)
        self._keys = self._read()

    def find(self, key: str) -> ApiKey | None:
        """Whose key this is, or None; takes as long for every key."""
        self._refresh()
        digest, found = _digest(key), None
        for known in self._keys:
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found

    def is_expired(self, key: ApiKey) -> bool:
        """Whether it holds no more."""
        return key.expires is not None and self._clock() >= key.expires

    def weight_of(self, name: str) -> float:
        """Share of a name: the largest among its keys; 1 for one that has none any more."""
        return max((key.weight for key in self._keys if key.name == name), default=1.0)

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
