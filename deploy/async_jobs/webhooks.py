"""A webhook: a URL that is sent how a job ended; signed, at allowed hosts only. Knows no storage.

The only place where this service sends a request of its own, and only to hosts that its operator
named: no redirect is followed, and nothing that is answered is read.
"""

import asyncio
import hashlib
import hmac
import http.client
import logging
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from urllib.parse import urlsplit

from kintsugi.errors import InvalidInput

logger = logging.getLogger(__name__)

SIGNATURE = "x-kintsugi-signature"
# For all of a request and its status.
_TIMEOUT_SECONDS = 10.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Webhooks:
    """Which URLs may be notified, and one request to one of them.

    Attributes:
        hosts: As `AppArgs.webhook_hosts`, in small letters.
    """

    def __init__(self, *, hosts: Sequence[str], secret: bytes) -> None:
        """
        Args:
            hosts: As `AppArgs.webhook_hosts`.
            secret: What signatures are made with.
        """
        self.hosts = frozenset(host.lower() for host in hosts)
        self._secret = secret

    def check(self, url: str) -> None:
        """Whether it may be notified; "" is none. Raises: InvalidInput `webhook_not_allowed`."""
        if not url or self.host_of(url):
            return
        allowed = ", ".join(sorted(self.hosts))
        raise InvalidInput(
            "the webhook is no address that this service may call",
            code="webhook_not_allowed",
            hint=f"https at one of: {allowed}"
            if allowed
            else "leave it out and ask for the job; the operator can allow hosts (webhook_hosts)",
        )

    def host_of(self, text: str) -> str:
        """Which of the hosts a URL is at; "" for one that may not be notified."""
        try:
            url = urlsplit(text)
            name, port = (url.hostname or "").lower(), url.port
        except ValueError:
            return ""
        if url.username or url.password or url.fragment or not text.isascii() or " " in text:
            return ""
        if any(ord(letter) < 0x21 for letter in text):
            return ""
        if url.scheme != "https" and not (url.scheme == "http" and name in _LOOPBACK):
            return ""
        host = name if port is None else f"{name}:{port}"
        return host if host in self.hosts else ""

    async def send(self, url: str, body: bytes, now: float, threads: Executor) -> int:
        """Send a body once, within seconds.

        Args:
            url: One that may be notified.
            body: JSON.
            now: Seconds since 1970.
            threads: One of them waits meanwhile, and is let go when the time is over.

        Returns: the status, 0 for none.
        """
        moment = str(int(now))
        headers = {
            "content-type": "application/json",
            "user-agent": "kintsugi",
            SIGNATURE: f"t={moment},v1={signature(self._secret, moment, body)}",
        }
        connection = _connection(url)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await loop.run_in_executor(threads, _post, connection, url, body, headers)
        except TimeoutError:
            return 0
        finally:
            # What comes byte by byte is late for none of them: the thread's wait ends by this.
            opened: socket.socket | None = connection.sock
            if opened is not None:
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)


def _connection(text: str) -> http.client.HTTPConnection:
    """Not open yet."""
    url = urlsplit(text)
    host = url.hostname or ""
    if url.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            host, url.port, timeout=_TIMEOUT_SECONDS, context=context
        )
    return http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT_SECONDS)


def _post(
    connection: http.client.HTTPConnection, text: str, body: bytes, headers: dict[str, str]
) -> int:
    """The status, 0 for none."""
    url = urlsplit(text)
    path = url.path or "/"
    try:
        connection.request("POST", f"{path}?{url.query}" if url.query else path, body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        logger.info("webhook at %s: %s", url.hostname, error)
        return 0
    finally:
        connection.close()


def signature(secret: bytes, moment: str, body: bytes) -> str:
    """What stands after `v1=`: HMAC-SHA256, hexadecimal, of `<t>.<body>`."""
    return hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
