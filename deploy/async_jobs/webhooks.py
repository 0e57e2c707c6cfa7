"""A webhook: notifies a URL of how a job ended; signed, at allowed hosts only, until it is taken.

The only place where this service sends a request of its own, and only to hosts that its operator
named: no redirect is followed, and nothing that is answered is read.
"""

import asyncio
import hashlib
import hmac
import http.client
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from kintsugi.deploy.async_jobs.documents import UNENDED, job_document
from kintsugi.deploy.async_jobs.records import Job
from kintsugi.deploy.async_jobs.store import JobDamaged, JobStore
from kintsugi.errors import InvalidInput

logger = logging.getLogger(__name__)

SIGNATURE = "x-kintsugi-signature"
# One that takes no request now is asked again after so many seconds each, and then whenever the
# service looks for what is left, for so long.
_PAUSES_SECONDS = (1.0, 5.0, 25.0)
_GIVE_UP_SECONDS = 24 * 3600.0
_TIMEOUT_SECONDS = 10.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Calls the store in a thread.
Call = Callable[..., Awaitable[Any]]


class Webhooks:
    """Which URLs may be notified, and the notifying."""

    def __init__(
        self,
        store: JobStore,
        *,
        hosts: Sequence[str],
        secret: bytes,
    ) -> None:
        """
        Args:
            store: The store of the jobs.
            hosts: As `AppArgs.webhook_hosts`.
            secret: What signatures are made with.
        """
        self._store = store
        self._hosts = frozenset(host.lower() for host in hosts)
        self._secret = secret
        self._notifying: set[str] = set()

    def check(self, url: str) -> None:
        """Whether it may be notified; "" is none. Raises: InvalidInput `webhook_not_allowed`."""
        if not url or self._is_allowed(url):
            return
        allowed = ", ".join(sorted(self._hosts))
        raise InvalidInput(
            "the webhook is no address that this service may call",
            code="webhook_not_allowed",
            hint=f"https at one of: {allowed}"
            if allowed
            else "leave it out and ask for the job; the operator can allow hosts (webhook_hosts)",
        )

    async def notify_all(self, call: Call) -> None:
        """Notify for every job that has ended and whose webhook is still to be notified."""
        for job_id in await call(self._store.hooks):
            await self.notify(job_id, call)

    async def notify(self, job_id: str, call: Call) -> None:
        """Notify for one job if it has ended; at least once, by whichever service comes to it."""
        if job_id in self._notifying:
            return
        self._notifying.add(job_id)
        try:
            try:
                job: Job | None = await call(self._store.job, job_id)
            except JobDamaged:
                job = None
            if job is not None and job.state in UNENDED:
                return
            if job is None or await self._sent(job) or self._is_over(job):
                await call(self._store.forget_webhook, job_id)
        finally:
            self._notifying.discard(job_id)

    async def _sent(self, job: Job) -> bool:
        """Send the job's document, and again while that may help. Returns: whether it was taken."""
        url = job.record.webhook
        if not self._is_allowed(url):
            logger.warning("job %s: its webhook is not allowed any more", job.record.id)
            return True
        body = job_document(job, f"/v1/jobs/{job.record.id}").model_dump_json().encode()
        for pause in (*_PAUSES_SECONDS, None):
            status = await asyncio.to_thread(self._post, urlsplit(url), body)
            if 200 <= status < 300:
                return True
            logger.warning("job %s: its webhook answered %s", job.record.id, status or "nothing")
            if pause is not None:
                await asyncio.sleep(pause)
        return False

    def _is_over(self, job: Job) -> bool:
        ended = job.record.created if job.finished is None else job.finished
        return self._store.now() - ended > _GIVE_UP_SECONDS

    def _post(self, url: SplitResult, body: bytes) -> int:
        """Send it once. Returns: the status, 0 for none."""
        moment = str(int(self._store.now()))
        headers = {
            "content-type": "application/json",
            "user-agent": "kintsugi",
            SIGNATURE: f"t={moment},v1={signature(self._secret, moment, body)}",
        }
        host, path = url.hostname or "", url.path or "/"
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                host, url.port, timeout=_TIMEOUT_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", f"{path}?{url.query}" if url.query else path, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            logger.info("webhook at %s: %s", host, error)
            return 0
        finally:
            connection.close()

    def _is_allowed(self, text: str) -> bool:
        try:
            url = urlsplit(text)
            host, port = (url.hostname or "").lower(), url.port
        except ValueError:
            return False
        if url.username or url.password or url.fragment or not text.isascii() or " " in text:
            return False
        if any(ord(letter) < 0x21 for letter in text):
            return False
        if url.scheme != "https" and not (url.scheme == "http" and host in _LOOPBACK):
            return False
        return (host if port is None else f"{host}:{port}") in self._hosts


def signature(secret: bytes, moment: str, body: bytes) -> str:
    """What stands after `v1=`: HMAC-SHA256, hexadecimal, of `<t>.<body>`."""
    return hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
