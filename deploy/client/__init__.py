"""Python client of the service; needs nothing but the standard library.

answer = Client("http://127.0.0.1:8000").inpaint(Path("photo.jpg"), Path("mask.png"))
Path("filled.png").write_bytes(answer.data)

Long work, which goes on when the service restarts:

job = client.jobs.inpaint(Path("poster.tiff"), Path("mask.png"))
answer = client.jobs.wait(job.id, on_progress=lambda job: print(f"{job.progress:.0%}"))

Several photographs, each a job of its own:

batch = client.batches.inpaint([Path("a.jpg"), Path("b.jpg")], [Path("a.png"), Path("b.png")])
for row in client.batches.wait(batch.id).rows:
    if row.problem is None:
        Path("filled", row.name).write_bytes(client.jobs.result(row.job.id).data)

From the command line, with --job for long work:

python -m kintsugi.deploy.client inpaint photo.jpg mask.png filled.png --feather 8
python -m kintsugi.deploy.client stylize photo.jpg painting.jpg styled.png --strength 0.8
"""

import http.client
import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from pathlib import Path
from typing import Unpack
from urllib.parse import urlsplit

from kintsugi.deploy.client.answers import Answer, ClientError, Response, answer_of, error_of
from kintsugi.deploy.client.jobs import Batch, Batches, Job, Jobs, Source
from kintsugi.deploy.client.request_options import InpaintOptions, StylizeOptions

__all__ = ["Answer", "Batch", "Client", "ClientError", "InpaintOptions", "Job", "StylizeOptions"]

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 30.0
# After a connection broke or was refused; twice as long after each further one.
_FIRST_PAUSE_SECONDS = 0.25
# Busy, and too many requests: both pass.
_AGAIN = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
_IN_FRONT = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY)
_OWN_TYPES = ("application/problem+json", "application/json")


class Client:
    """Calls one service. Safe to share between threads: each call has its own connection."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        timeout_seconds: float = 180,
        max_retries: int = 5,
    ) -> None:
        """Name the service; nothing is sent.

        Args:
            url: Such as ``http://127.0.0.1:8000``.
            api_key: For a service that asks for one; give it to no service over plain http
                but on this machine.
            timeout_seconds: For each wait on the network.
            max_retries: How often a request is sent again that was answered 503 or 429, or not
                at all since the service that was to answer died: no request does more than compute.

        Raises:
            ValueError: The URL is not one of http or https, or the key can be none.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url={url!r}: give one like http://127.0.0.1:8000")
        if not all("!" <= character <= "~" for character in api_key):
            # Not shown: it may be right but for a line break at its end.
            raise ValueError(
                "api_key: give visible ASCII characters, without spaces or line breaks"
            )
        self._parts = parts
        self._key_header = {"x-api-key": api_key} if api_key else {}
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        # Long work: send it now, fetch it later.
        self.jobs = Jobs(self._send, _form)
        self.batches = Batches(self._send, _form)

    def inpaint(
        self,
        image: bytes | str | Path,
        mask: bytes | str | Path | None = None,
        **options: Unpack[InpaintOptions],
    ) -> Answer:
        """Fill the hole of one image.

        Args:
            image: The file or its bytes: PNG, JPEG, WebP, TIFF, HEIC, AVIF, BMP, GIF, JPEG 2000.
            mask: A mask of the same size; white is hole. None with mask_convention="alpha": the
                image's transparent part.
            options: See InpaintOptions.

        Raises:
            ClientError: The service refused or failed.
            OSError: A file cannot be read, or there was no connection.
            http.client.HTTPException: The connection broke, or what answered speaks no HTTP.
        """
        files = {"image": image} if mask is None else {"image": image, "mask": mask}
        return self._image("/v1/inpaint", files, dict(options))

    def stylize(
        self,
        content: bytes | str | Path,
        style: bytes | str | Path,
        **options: Unpack[StylizeOptions],
    ) -> Answer:
        """Give one image the look of another.

        Args:
            content: The file or its bytes; the answer has its size.
            style: Likewise, of any size.
            options: See StylizeOptions.

        Raises: As `inpaint`.
        """
        return self._image("/v1/stylize", {"content": content, "style": style}, dict(options))

    def ready(self) -> dict[str, bool]:
        """For every node whether it answers; empty when the service itself does not."""
        try:
            response = self._request("GET", "/readyz", b"", {})
        except OSError:
            return {}
        if response.headers.get_content_type() != "application/json":
            return {}
        nodes: dict[str, bool] = json.loads(response.body)["nodes"]
        return nodes

    def _image(
        self, path: str, files: Mapping[str, bytes | str | Path], options: Mapping[str, object]
    ) -> Answer:
        body, content_type = _form(files, options)
        response = self._send("POST", path, body, {"content-type": content_type})
        return answer_of(response)

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> "Response":
        """Send, and again while that may help. Raises: ClientError for every error."""
        for attempt in range(self._max_retries + 1):
            last = attempt == self._max_retries
            try:
                response = self._request(method, path, body, headers)
            except (ConnectionError, http.client.HTTPException) as error:
                if last:
                    raise
                # The service that listens there is being replaced.
                self._pause(
                    _FIRST_PAUSE_SECONDS * 2**attempt,
                    f"{type(error).__name__}: {str(error)[:200]!r}",
                )
                continue
            if response.status < HTTPStatus.BAD_REQUEST:
                return response
            if last or not _may_pass(response):
                break
            seconds = _pause_seconds(response.headers.get("retry-after", ""))
            self._pause(seconds, f"answered {response.status}")
        raise error_of(response)

    def _pause(self, seconds: float, why: str) -> None:
        """Wait, and say so: seconds without a word look like a hang."""
        where = self._parts.netloc.rpartition("@")[2]
        _log.warning("%s: %s; again in %.3g s", where, why, seconds)
        time.sleep(seconds)

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> "Response":
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        assert self._parts.hostname is not None
        connection = kind(self._parts.hostname, self._parts.port, timeout=self._timeout_seconds)
        try:
            target = self._parts.path.rstrip("/") + path
            connection.request(method, target, body, {**headers, **self._key_header})
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()


def _may_pass(response: Response) -> bool:
    """Whether the same request can succeed later."""
    if response.status in _AGAIN:
        return True
    # Such an answer comes from a proxy whose service died during the request; the service's own
    # errors say more.
    from_the_service = response.headers.get_content_type() in _OWN_TYPES
    return response.status in _IN_FRONT and not from_the_service


def _form(
    files: Mapping[str, Source | Sequence[Source]], options: Mapping[str, object]
) -> tuple[bytes, str]:
    """Files and options as a form, and its content type; of a sequence each as a file."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, given in files.items():
        for source in [given] if isinstance(given, bytes | str | Path) else given:
            data, filename = _opened(source, name)
            parts += [_head(boundary, name, f'; filename="{filename}"'), data, b"\r\n"]
    for name, value in options.items():
        parts += [_head(boundary, name), str(value).encode(), b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _opened(source: Source, name: str) -> tuple[bytes, str]:
    """A file's bytes, and how it is called: by its path, else by its field."""
    if isinstance(source, bytes):
        return source, name
    # As browsers write names that hold what would end them.
    called = Path(source).name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return Path(source).read_bytes(), called


def _head(boundary: str, name: str, more: str = "") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode(errors="surrogateescape")


def _pause_seconds(retry_after: str) -> float:
    """How long the service asks to wait; a second where it does not say."""
    if retry_after.isdecimal():
        asked = float(retry_after)
    elif (moment := parsedate_tz(retry_after)) is not None:
        asked = mktime_tz(moment) - time.time()
    else:
        asked = 1.0
    return min(max(asked, 0.0), _LONGEST_PAUSE_SECONDS)
