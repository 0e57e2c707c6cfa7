"""Whose a run is: one submission trains it at a time; knows no Ray.

A submission that trains a run writes its name into the run's folder `owner`, and every few
seconds a sign of life into a file of its own there. Another submission is refused as long as the
signs come. When they stay away, the first was lost and the second takes the run over; should the
first wake up again, it finds the other's name before it writes its next checkpoint, and ends.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.collectives import broadcast
from kintsugi.errors import ConfigError, KintsugiError, StorageError
from kintsugi.runs.run import Run
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage

logger = logging.getLogger(__name__)

OWNER_NAME = "owner/submission.json"
# Between two signs of life, and for how long they may stay away.
HEARTBEAT_SECONDS = 4.0
SILENT_SECONDS = 30.0
_ENDED = b"ended"


class LeaseLost(KintsugiError):
    """Another submission trains the run now; nothing more of it is this one's to write."""


@dataclass(frozen=True)
class Owner:
    """A submission that trains a run.

    Attributes:
        token: The token of this submission alone; the same through all its attempts.
        host: Where its driver runs.
        pid: The number of the driver.
        place: In which of all sets of processes that number is its; "" = not known.
        since: When it began, UTC.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)

    token: str
    host: str
    pid: int
    place: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def heartbeat_name(self) -> str:
        """The file of its signs of life."""
        return f"owner/{self.token}.beat"

    def is_dead(self) -> bool:
        """Whether it surely is: it ran among the processes that are seen from here, and is none."""
        if not self.place or self.place != _place():
            return False
        return not Path(f"/proc/{self.pid}").exists()


_OWNER = TypeAdapter(Owner)


@contextmanager
def hold_lease(run: Run) -> Iterator[str]:
    """Be the submission that trains ``run`` while inside. Yields: its token.

    Raises: ConfigError: another submission trains it.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ours = Owner(secrets.token_hex(8), socket.gethostname(), os.getpid(), _place(), now)
    # Before it is looked who else is there: of two that begin together one sees the other.
    run.storage.write(ours.heartbeat_name, b"0")
    done = threading.Event()
    heartbeats = threading.Thread(target=_send_heartbeats, args=(run, ours, done), daemon=True)
    heartbeats.start()
    entered = False
    try:
        before = owner_of(run)
        if before is not None:
            _wait_for_silence(run, before)
        _refuse_beginners(run, ours, before)
        run.storage.write(OWNER_NAME, _OWNER.dump_json(ours))
        if before is not None:
            run.storage.delete(before.heartbeat_name)
        entered = True
        yield ours.token
    finally:
        done.set()
        heartbeats.join()
        if not entered:
            run.storage.delete(ours.heartbeat_name)


def _send_heartbeats(run: Run, owner: Owner, done: threading.Event) -> None:
    """Give signs of life until the end, which is the last of them."""
    # Tried once: the next sign comes soon, and the end shall not wait for storage that is gone.
    storage = Storage(run.storage.uri, retry=Retry(tries=1))
    count, ended = 0, False
    while not ended:
        ended, count = done.wait(HEARTBEAT_SECONDS), count + 1
        try:
            storage.write(owner.heartbeat_name, _ENDED if ended else str(count).encode())
        except StorageError as error:
            logger.warning("could not give a sign of life of this submission: %s", error)


def _refuse_beginners(run: Run, ours: Owner, before: Owner | None) -> None:
    """Return when no other submission is about to train the run.

    Two that see one another both end: neither knows how far the other is.

    Raises: ConfigError as soon as one gives a sign of life.
    """
    known = {each.heartbeat_name for each in (ours, before) if each is not None}
    others = [f"owner/{name}" for name in run.storage.join("owner").list()]
    for name in others:
        if not name.endswith(".beat") or name in known:
            continue
        first = sign = _read(run, name) or _ENDED
        end = time.monotonic() + SILENT_SECONDS
        while sign == first != _ENDED and time.monotonic() < end:
            time.sleep(HEARTBEAT_SECONDS / 4)
            sign = _read(run, name) or _ENDED
        if sign not in (first, _ENDED):
            raise ConfigError(
                f"{run.storage.uri}: another submission begins to train it at this moment: start"
                " one of them again"
            )
        # It was lost before it trained anything.
        run.storage.delete(name)


def _wait_for_silence(run: Run, owner: Owner) -> None:
    """Return when a submission has ended or gives no sign of life.

    Raises: ConfigError as soon as it gives one.
    """
    first = sign = _sign_of(run, owner)
    end = time.monotonic() + SILENT_SECONDS
    while sign == first and not owner.is_dead() and time.monotonic() < end:
        if sign == _ENDED:
            return
        time.sleep(HEARTBEAT_SECONDS / 4)
        sign = _sign_of(run, owner)
    if sign not in (first, _ENDED):
        raise ConfigError(
            f"{run.storage.uri} is being trained by another submission ({owner}): stop that one"
            " first, or give this run a name of its own with --set run=NAME"
        )
    if sign != _ENDED:
        logger.warning(
            "%s: the submission before this one (%s) was lost: this one takes over",
            run.storage.uri,
            owner,
        )


def _sign_of(run: Run, owner: Owner) -> bytes:
    """The last sign of life; one that is deleted belongs to nobody."""
    return _read(run, owner.heartbeat_name) or _ENDED


def owner_of(run: Run) -> Owner | None:
    """The submission that trains a run, or did last. Raises: StorageError: it cannot be read."""
    text = _read(run, OWNER_NAME)
    if text is None:
        return None
    try:
        return _OWNER.validate_json(text)
    except ValidationError as error:
        raise StorageError(
            f"{run.storage.uri}/{OWNER_NAME} cannot be read: delete it if nobody trains the run"
        ) from error


def _read(run: Run, name: str) -> bytes | None:
    try:
        return run.storage.read(name)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _place() -> str:
    """This boot of this machine, and the container in it: there a process has but one number."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return ""
    return f"{boot.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


class Lease:
    """One rank's question whether the run is still its submission's.

    Args:
        run: The run.
        token: What `hold_lease` gave the driver; "" asks nothing.
        rank: The rank of this process; the first one looks.
        device: On which it computes.
    """

    def __init__(self, run: Run, token: str, *, rank: int, device: torch.device) -> None:
        self._run = run
        self._token = token
        self._first = rank == 0
        self._device = device
        # Set by the thread that finds it out; once lost it stays so.
        self._lost = False

    def check(self, *, look: bool = True) -> None:
        """On every rank, before what another submission could be writing is written.

        Args: ``look``: False: go by what `is_lost` found last, and ask storage nothing.

        Raises: LeaseLost on all of them when the run is another's.
        """
        if self._first and look:
            self.is_lost()
        if broadcast(float(self._lost), self._device):
            raise LeaseLost(
                f"{self._run.storage.uri} was taken over by another submission"
                f" ({owner_of(self._run)}): this one ends without writing more of it"
            )

    def is_lost(self) -> bool:
        """What the first rank alone sees, between two checks."""
        if not self._token:
            return False
        owner = owner_of(self._run)
        self._lost = self._lost or owner is None or owner.token != self._token
        return self._lost
