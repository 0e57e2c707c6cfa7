"""Servers as processes: a start that is waited for, an end that leaves none behind.

Knows nothing of what they serve.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kintsugi.errors import StorageError

_START_SECONDS = 90.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Server:
    """How a server is started.

    Attributes:
        name: What messages call it.
        command: The program and its arguments.
        environment: All variables that it sees.
        folder: Its current folder.
        log: File for what it prints.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path


class EndedEarly(StorageError):
    """A server ended while it was started: mostly another program took one of its ports."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def running(server: Server, is_ready: Callable[[], bool]) -> Iterator[None]:
    """Run a server, with every process that it starts, until the block ends.

    Args:
        server: What to start.
        is_ready: Asked until it says so.

    Raises: StorageError naming the log when it is not ready in time; EndedEarly when it ends.
    """
    with server.log.open("ab") as output:
        process = subprocess.Popen(
            server.command,
            env=server.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=server.folder,
            # Ctrl-C is for this program, which then stops the server itself.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, server, is_ready)
        yield
    finally:
        _stop(process)


def _wait_until_ready(
    process: "subprocess.Popen[bytes]", server: Server, is_ready: Callable[[], bool]
) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise EndedEarly(
                f"{server.name} ended with {process.returncode} while starting: see {server.log}"
            )
        if is_ready():
            return
        time.sleep(_POLL_SECONDS)
    raise StorageError(f"{server.name} did not start in {_START_SECONDS:.0f} s: see {server.log}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server and all that it started; only those, by their process group."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Ray's agents notice seconds later that their node is gone, and a killed process still
    # runs for a moment.
    give_up = time.monotonic() + _STOP_SECONDS
    while _runs(process.pid) and time.monotonic() < give_up:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.05)


def _runs(group: int) -> bool:
    """Whether a process of the group still runs; dead ones may wait to be reaped."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Fields after the name in brackets: state, parent, process group, ...
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state not in ("Z", "X"):
            return True
    return False
