"""The service's side of the fork server: starts it, asks for processes, ends them; no HTTP."""

import atexit
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from kintsugi.deploy.sandbox.fork_server import MOST_MESSAGE_BYTES

logger = logging.getLogger(__name__)

# Loading the codecs on a busy machine; then each of its answers.
_START_SECONDS, _ANSWER_SECONDS = 60.0, 10.0
# Environment variables that it gets; none is a secret.
_KEPT = ("LANG", "LC_ALL", "PATH", "LD_LIBRARY_PATH", "MALLOC_TRIM_THRESHOLD_")


class ServerGone(Exception):
    """The fork server, and with it every process of it, has ended."""


@dataclass(eq=False)
class CodecProcess:
    """One process, and the socket to it.

    Attributes:
        busy: Held while the socket is used, so that it is not closed meanwhile.
        server: Its parent.
        number: Names it there.
    """

    sock: socket.socket
    server: "_Server"
    number: int
    busy: threading.Lock = field(default_factory=threading.Lock)

    def end(self, *, grace: float = 0.0) -> int | None:
        """Kill it. Returns: how it ended, as `os.waitpid` says; None when nobody knows."""
        try:
            status = self.server.ask({"end": self.number, "grace": grace})["status"]
        except ServerGone:
            status = None
        with self.busy:
            self.sock.close()
        return status


class ForkServer:
    """Starts the server when the first process is asked for, and again should it end."""

    def __init__(self) -> None:
        """Start nothing."""
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._numbers = itertools.count()

    def fork(self) -> CodecProcess:
        """A fresh process. Raises: ServerGone: not even a new server could fork one."""
        try:
            return self._fork()
        except ServerGone:
            logger.warning("the fork server of the codecs has ended: starting another")
            return self._fork()

    def start(self) -> None:
        """Start it now, so that the first request does not wait for it."""
        self._running()

    @property
    def pid(self) -> int | None:
        """The server's process; None while none runs."""
        server = self._server
        return None if server is None or server.has_failed else server.process.pid

    def stop(self) -> None:
        """End the server and all of its processes."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def _fork(self) -> CodecProcess:
        server = self._running()
        ours, theirs = socket.socketpair()
        number = next(self._numbers)
        try:
            with theirs:
                server.ask({"fork": number}, theirs.fileno())
        except ServerGone:
            ours.close()
            raise
        return CodecProcess(ours, server, number)

    def _running(self) -> "_Server":
        with self._lock:
            if self._server is None or self._server.has_failed:
                self._server = None
                self._server = _Server()
                atexit.register(self.stop)
            return self._server


class _Server:
    """A running fork server. Raises: ServerGone, when it does not start.

    Attributes:
        has_failed: An answer of it was missing. It is killed, and with it its processes: its next
            answer would be that to another question.
    """

    def __init__(self) -> None:
        self.has_failed = False
        self._lock = threading.Lock()
        # Keeps messages apart.
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_START_SECONDS)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        # Its numerical libraries shall start no threads: it forks.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # An encoder's threads would each reserve 64 MiB of the memory that a process may take.
        environment |= {"MALLOC_ARENA_MAX": "2"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kintsugi.deploy.sandbox.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        try:
            self._receive()
        except ServerGone:
            self._fail()
            raise
        self._control.settimeout(_ANSWER_SECONDS)

    def ask(self, message: dict[str, float], fd: int | None = None) -> dict[str, int]:
        """Its answer. Raises: ServerGone, and then every time: it is killed."""
        data = json.dumps(message).encode()
        with self._lock:
            try:
                socket.send_fds(self._control, [data], [] if fd is None else [fd])
                return self._receive()
            except (OSError, ServerGone) as error:
                self._fail()
                raise ServerGone(str(error)) from error

    def close(self) -> None:
        """End it: it does so by itself when the socket is closed."""
        with self._lock:
            self._control.close()
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._kill()

    def _fail(self) -> None:
        self.has_failed = True
        self._control.close()
        self._kill()

    def _kill(self) -> None:
        # Its processes die with it: each has asked the kernel for that.
        self.process.kill()
        self.process.wait()

    def _receive(self) -> dict[str, int]:
        try:
            data = self._control.recv(MOST_MESSAGE_BYTES)
        except OSError as error:
            raise ServerGone(str(error)) from error
        if not data:
            raise ServerGone("it has ended")
        answer: dict[str, int] = json.loads(data)
        return answer


# One for this process; every application in it shares it.
SHARED = ForkServer()
