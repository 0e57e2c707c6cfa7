"""The outermost layer of the application: request ids, size of bodies, bugs, log; no routes."""

import asyncio
import logging
import re
import uuid
from contextlib import nullcontext

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kintsugi.deploy.admission.orderly_stop import OrderlyStop
from kintsugi.deploy.engine import Answered, Busy, Observer
from kintsugi.deploy.http.access_log import AccessRecord, api_path, documented_route
from kintsugi.deploy.http.problems import Problem, problem_response
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import TooLarge

logger = logging.getLogger(__name__)

# Anything else could forge lines of a log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
# A body has so long, and a second more for so many bytes: it holds a place and memory meanwhile.
PAUSE_SECONDS, LEAST_BYTES_A_SECOND = 30.0, 16_000
# More than there is anywhere.
MOST_BYTES = 10**18
# Methods that make and delete nothing.
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Names of a machine for itself.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# What is asked of a service that is being stopped, too.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live"})


class RequestMiddleware:
    """ASGI middleware around everything else.

    Refuses a body from its declared length before anything of it is read, and one
    without a length as soon as it passes the limit: before any parser holds it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        args: AppArgs,
        observer: Observer,
        stop: OrderlyStop,
        echo_request_id: bool,
    ) -> None:
        self._app = app
        self._max_bytes = args.max_bytes
        self._max_json_bytes = min(args.max_bytes, args.max_json_bytes)
        self._is_open = not args.api_keys
        self._hosts = _served_hosts(args)
        self._observer = observer
        self._stop = stop
        self._echo_request_id = echo_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.request_id = request_id(request.headers)
        request.state.record = record = AccessRecord()

        async def send_named(message: Message) -> None:
            record.bytes_out += len(message.get("body", b""))
            if message["type"] == "http.response.start":
                record.status = message["status"]
                if self._echo_request_id:
                    MutableHeaders(scope=message)["x-request-id"] = request.state.request_id
            await send(message)

        try:
            with nullcontext() if api_path(scope) in _PROBES else self._stop.one_more():
                # What stands in front asks it, and passes the 421 of the request itself on.
                if api_path(scope) != "/keyz":
                    _check_host(request.headers, self._hosts)
                if self._is_open and scope["method"] not in _READING:
                    _check_site(request.headers, self._hosts)
                limit = self._limit(request.headers)
                _check_declared_length(request.headers, limit)
                await self._app(scope, _limited(receive, record, limit), send_named)
        except ClientDisconnect:
            # Nobody is there to be answered, and nothing failed here.
            record.outcome = "client_gone"
        except Exception as error:
            if not isinstance(error, TooLarge | Problem | Busy):
                logger.exception("request %s failed", request.state.request_id)
            if record.status:
                raise
            await problem_response(error, request)(scope, receive, send_named)
        finally:
            if (ticket := getattr(request.state, "ticket", None)) is not None:
                ticket.leave()
            taken = getattr(request.state, "taken", None)
            if taken is not None and record.status == 503:
                # It is asked to come again, and shall find its rate as it was.
                taken.give_back()
        if _is_counted(scope):
            self._observer.answered(
                Answered(
                    outcome=record.outcome,
                    route=documented_route(scope) or "",
                    status=record.status,
                    release=record.model_version,
                    megapixels=record.megapixels,
                    seconds=record.seconds,
                )
            )
            record.write(scope, request.state.request_id)

    def _limit(self, headers: Headers) -> int:
        is_json = headers.get("content-type", "").lower().startswith("application/json")
        return self._max_json_bytes if is_json else self._max_bytes


def _served_hosts(args: AppArgs) -> frozenset[str]:
    """The names under which it answers, in lower case; empty: all.

    A list of this machine's own names guards a service without keys. One that asks for keys is
    for others, who come by other names, and no page of elsewhere has a key.
    """
    hosts = frozenset(host.lower() for host in args.hosts)
    if args.api_keys and hosts and hosts <= LOOPBACK:
        logger.warning(
            "hosts names this machine alone, and api_keys lets others in: hosts is passed over;"
            " name those under which they come, or none"
        )
        return frozenset()
    return hosts


def _check_host(headers: Headers, hosts: frozenset[str]) -> None:
    """Raises: Problem 421 `host_not_served`. Without the header no browser asks."""
    name = _name_of(headers.get("host", "").lower())
    if hosts and name and name not in hosts:
        raise Problem(
            421,
            "host_not_served",
            detail="this service is not asked for under this name",
            hint=f"use one of {', '.join(sorted(hosts))}; the operator can name others: args.hosts",
        )


def _check_site(headers: Headers, hosts: frozenset[str]) -> None:
    """Raises: Problem 403 `cross_site`: a page of elsewhere asks, by its visitor's browser.

    A form needs nobody's leave to be sent across sites. Where keys are asked for, no page has one
    that it was not given. Browsers say the site to addresses that they trust, such as of this
    machine, and to others the origin; another program says neither.
    """
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "").lower()
    if site:
        is_own = site in ("same-origin", "none")
    else:
        at = origin.partition("://")[2]
        # Behind a server that passes on another name, its own is one of those that are served.
        is_own = not origin or at == headers.get("host", "").lower() or at in hosts
    if not is_own:
        raise Problem(
            403,
            "cross_site",
            detail=f"a page of {origin[:100] or 'another site'} asks, and a service without keys"
            " works for its own page alone",
            hint="use the service's own page, or a program that is no browser; the operator can ask"
            " for keys: args.api_keys",
        )


def _name_of(host: str) -> str:
    """Without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _check_declared_length(headers: Headers, limit: int) -> None:
    declared = whole_number(headers.get("content-length", ""))
    if declared is not None and declared > limit:
        raise _too_large(f"{declared} bytes", limit)


def whole_number(text: str) -> int | None:
    """What a header or a query says, at most `MOST_BYTES`; None where it is no whole number.

    Python reads no number of thousands of digits: it would be a bug here, and not the client's.
    """
    if not text.isdecimal():
        return None
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) < len(str(MOST_BYTES)) else MOST_BYTES


def _limited(receive: Receive, record: AccessRecord, limit: int) -> Receive:
    """The body, until it is longer than its limit, or slower than the least rate."""
    is_whole = False

    async def receive_limited() -> Message:
        nonlocal is_whole
        if is_whole:
            # What comes now is that the client has gone, for which nobody hurries.
            return await receive()
        allowed = PAUSE_SECONDS + record.bytes_in / LEAST_BYTES_A_SECOND
        try:
            async with asyncio.timeout(max(0.0, allowed - record.seconds)):
                message = await receive()
        except TimeoutError as error:
            raise _too_slow() from error
        is_whole = not message.get("more_body", False)
        record.bytes_in += len(message.get("body", b""))
        if record.bytes_in > limit:
            raise _too_large("more", limit)
        return message

    return receive_limited


def _too_slow() -> Problem:
    return Problem(
        408,
        "too_slow",
        detail=f"the body came slower than {LEAST_BYTES_A_SECOND} bytes a second",
        hint="send it without pauses, or a smaller file",
        # What is left of it is not waited for.
        headers={"connection": "close"},
    )


def _too_large(has: str, limit: int) -> TooLarge:
    return TooLarge(
        f"the body has {has}, the limit is {limit} bytes",
        code="body_too_large",
        hint="send smaller files: JPEG or WebP for the image, a 1-bit PNG for the mask; as"
        " multipart/form-data they take less than in JSON",
    )


def _is_counted(scope: Scope) -> bool:
    """Whether this is a request of the API: not the page, nor a probe, which comes all the time."""
    path = api_path(scope)
    return path.startswith(("/v1/", "/v2")) and not path.startswith("/v2/health/")


def request_id(headers: Headers) -> str:
    """The id that the client gave, where it is harmless, or a fresh one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
