"""Whose a run is: of two submissions that train it at one time, the later one; knows no Ray.

The later submission takes the run over, as the earlier one may be hung or lost for good:
waiting for it would wait for ever. The earlier one, should it still train, finds another's
name in the run's folder before it writes its next checkpoint, and ends.
"""

import json
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import torch

from kintsugi.agreement import from_first_rank
from kintsugi.errors import KintsugiError, StorageError
from kintsugi.runs import Run

logger = logging.getLogger(__name__)

OWNER_NAME = "owner.json"


class TakenOver(KintsugiError):
    """Another submission trains the run now; nothing more of it is this one's to write."""


@dataclass(frozen=True)
class Owner:
    """A submission that trains a run.

    Attributes:
        token: Of this submission alone; the same through all its attempts.
        host: Where its driver runs.
        pid: Of the driver.
        since: When it began, UTC.
    """

    token: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def owning(run: Run) -> Iterator[str]:
    """Be the submission that trains ``run`` while inside. Yields: its token.

    One that fails leaves its name behind, as one that is killed does.
    """
    before = owner_of(run)
    if before is not None:
        logger.warning(
            "%s: the submission before this one (%s) failed, was killed or still trains; if it"
            " does, it ends at its next checkpoint: this one takes over",
            run.storage.uri,
            before,
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ours = Owner(secrets.token_hex(8), socket.gethostname(), os.getpid(), now)
    run.storage.write(OWNER_NAME, json.dumps(asdict(ours)).encode())
    yield ours.token
    if owner_of(run) == ours:
        run.storage.delete(OWNER_NAME)


def owner_of(run: Run) -> Owner | None:
    """The submission that trains a run, or did not end well; None when there is none."""
    try:
        return Owner(**json.loads(run.storage.read(OWNER_NAME)))
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


class Ownership:
    """One rank's question whether the run is still its submission's.

    Args:
        run: The run.
        token: What `owning` gave the driver; "" asks nothing.
        rank: Of this process; the first one looks.
        device: On which it computes.
    """

    def __init__(self, run: Run, token: str, *, rank: int, device: torch.device) -> None:
        self._run = run
        self._token = token
        self._first = rank == 0
        self._device = device

    def check(self) -> None:
        """On every rank, before what another submission could be writing is written.

        Raises: TakenOver on all of them when the run is another's.
        """
        if from_first_rank(float(self._first and self.is_lost()), self._device):
            other = owner_of(self._run) or "one that has ended since"
            raise TakenOver(
                f"{self._run.storage.uri} was taken over by another submission ({other}): this"
                " one ends without writing more of it; runs that shall train side by side need"
                " names of their own (--set run=NAME)"
            )

    def is_lost(self) -> bool:
        """Whether the run is another's now, or was and has ended."""
        if not self._token:
            return False
        owner = owner_of(self._run)
        return owner is None or owner.token != self._token
