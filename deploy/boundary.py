"""The outermost layer of the application: request ids, the size of bodies, bugs; no routes."""

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.engine import Observer
from deploy.problems import problem_response
from kintsugi.errors import TooLarge

logger = logging.getLogger(__name__)

# Anything else could forge lines of a log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class Boundary:
    """ASGI middleware around everything else.

    Refuses a body from its declared length before anything of it is read, and one
    without a length as soon as it passes the limit: before any parser holds it.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, observer: Observer, echo_request_id: bool
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._observer = observer
        self._echo_request_id = echo_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.request_id = request_id(request.headers)
        request.state.outcome = "ok"
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._echo_request_id:
                    MutableHeaders(scope=message)["x-request-id"] = request.state.request_id
            await send(message)

        try:
            self._check_declared_length(request.headers)
            await self._app(scope, self._limited(receive), send_named)
        except Exception as error:
            if not isinstance(error, TooLarge):
                logger.exception("request %s failed", request.state.request_id)
            if started:
                raise
            await problem_response(error, request)(scope, receive, send_named)
        if scope["path"].startswith("/v1/"):
            self._observer.answered(request.state.outcome)

    def _check_declared_length(self, headers: Headers) -> None:
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise self._too_large(f"{declared} bytes")

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._too_large("more")
            return message

        return receive_limited

    def _too_large(self, has: str) -> TooLarge:
        return TooLarge(
            f"the body has {has}, the limit is {self._max_bytes} bytes",
            code="body_too_large",
            hint="send smaller files: JPEG or WebP for the image, a 1-bit PNG for the mask",
        )


def request_id(headers: Headers) -> str:
    """The id that the client gave, where it is harmless, or a fresh one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
