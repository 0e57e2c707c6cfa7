"""Connections of uvicorn that are slow or say too much in a header; knows no route.

uvicorn waits for a header for ever and, by httptools, keeps one of any length; it waits for ever
for a client that does not read. Serve's proxies are uvicorn's too, and cannot be changed: nginx
stands in front of them. A service in one process has this.
"""

import array
import asyncio
import fcntl
import termios
import uuid
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from kintsugi.deploy.http.middleware import (
    LEAST_BYTES_A_SECOND,
    MOST_BYTES,
    whole_number,
)
from kintsugi.deploy.http.problems import MEDIA_TYPE, Problem, problem_document

# As nginx.conf has them, or a little more.
HEAD_BYTES = 32 * 1024
HEAD_SECONDS = 10.0
# For a client that was refused while it sends its body: to read why.
LINGER_SECONDS, LINGER_BYTES = 30.0, 16 * 2**20
# How often it is looked whether a client reads on: as quickly as bodies must come, at least.
WRITE_SECONDS = 60.0


class Bounds(asyncio.Protocol):
    """What is added to a protocol of uvicorn, by httptools or by h11; stands before it."""

    # uvicorn's own.
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._heard, self._most = 0, HEAD_BYTES
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a header, but not for ever."""
        super().connection_made(transport)
        self._wait_for_head(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives its connection."""
        self._head_is_there()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a header or of a body, or of several."""
        before = self.cycle
        self._heard += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.cycle is not before:
            self._head_is_there()
            # A pipelined header may have come with the last body.
            self._heard, self._most = len(data), 2 * HEAD_BYTES + len(data) + self._body_bytes()
        elif before is None or before.response_complete:
            if self._heard > self._most:
                self._refuse(
                    Problem(
                        431,
                        "headers_too_large",
                        detail=f"the limit is {HEAD_BYTES} bytes for request line and headers",
                        hint="send fewer and shorter headers",
                    )
                )
            elif self._head_timer is None:
                self._wait_for_head(HEAD_SECONDS if before is None else LINGER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's plain text."""
        self._refuse(
            Problem(
                400,
                "bad_request",
                detail="this is no well-formed HTTP request",
                hint="check request line, headers and length of the body",
            )
        )

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        super().pause_writing()
        if self._write_timer is None:
            self._look_later()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _look_later(self) -> None:
        self._unread = _unread(self.transport)
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._look)

    def _look(self) -> None:
        """An answer is one write: it is not over before nearly all of it is read."""
        read = self._unread - _unread(self.transport)
        if read < WRITE_SECONDS * LEAST_BYTES_A_SECOND:
            self.transport.abort()
        else:
            self._look_later()

    def _wait_for_head(self, seconds: float) -> None:
        self._head_timer = self.loop.call_later(seconds, self._is_too_slow)

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_too_slow(self) -> None:
        if self._heard and self.cycle is None:
            self._refuse(
                Problem(
                    408,
                    "too_slow",
                    detail="the request did not come within the time",
                    hint="send it without pauses",
                )
            )
        else:
            # Nothing was asked, or all is answered.
            self.transport.abort()

    def _body_bytes(self) -> int:
        """How much may follow a header; a body without a length, or too long, is cut off."""
        declared = dict(self.cycle.scope["headers"]).get(b"content-length", b"")
        length = whole_number(declared.decode("latin-1"))
        return LINGER_BYTES if length is None or length == MOST_BYTES else length

    def _refuse(self, problem: Problem) -> None:
        """Answer outside of the application, and close."""
        body = problem_document(problem, uuid.uuid4().hex).model_dump_json().encode()
        head = (
            f"HTTP/1.1 {problem.status} Refused\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def _unread(transport: asyncio.Transport) -> int:
    """Bytes that were sent and that the client's machine has not, here and in the kernel.

    The kernel takes more only when a third of what it holds has gone: megabytes.
    """
    kernel = array.array("i", [0])
    # Not every system says it of sockets.
    with suppress(OSError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kernel)
    return transport.get_write_buffer_size() + kernel[0]


class BoundedConnection(Bounds, AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """One connection; what `uvicorn.Config` takes as `http`."""
