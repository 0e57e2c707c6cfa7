"""Python client of the service; needs nothing but the standard library.

answer = Client("http://127.0.0.1:8000").inpaint(Path("photo.jpg"), Path("mask.png"))
Path("filled.png").write_bytes(answer.data)

From the command line:

python -m deploy.client inpaint photo.jpg mask.png filled.png --feather 8
python -m deploy.client stylize photo.jpg painting.jpg styled.png --strength 0.8
"""

import http.client
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Literal, TypedDict, Unpack
from urllib.parse import urlsplit

_LONGEST_PAUSE_SECONDS = 30.0
# Busy, and too many requests: both pass.
_AGAIN = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


class AnswerOptions(TypedDict, total=False):
    """Options of every call; what is left out is as the service has it."""

    format: Annotated[
        Literal["png", "jpeg", "webp", "tiff"], "format of the answer: png, jpeg, webp or tiff"
    ]
    quality: Annotated[int, "1 to 100, of jpeg and webp"]
    seed: Annotated[int, "whole number from 0 to 9223372036854775807; decides every random choice"]


class InpaintOptions(AnswerOptions, total=False):
    """Options of `Client.inpaint`."""

    mask_convention: Annotated[
        Literal["white", "alpha"],
        "white: grey of 128 and more is hole; alpha: transparent is hole, in the mask, or in"
        " the image itself when no mask is sent",
    ]
    grow_mask: Annotated[int, "0 to 64 pixels by which the hole grows on every side"]
    feather: Annotated[int, "0 to 64 pixels over which the fill fades out around the hole"]
    align_colour: Annotated[
        bool,
        "true or false, moves the fill's colours to those of the known pixels around it",
    ]
    scales: Annotated[
        int | Literal["auto"], "auto, or how many scales the fill goes through, 1 to 16"
    ]


class StylizeOptions(AnswerOptions, total=False):
    """Options of `Client.stylize`."""

    strength: Annotated[float, "0 to 1, how much of the answer is style, 0 keeps the content"]


@dataclass(frozen=True)
class Answer:
    """An image that the service made.

    Attributes:
        data: Bytes of the image file.
        content_type: Such as ``image/png``.
        model_version: Name and digest of the release that made it.
        request_id: Names the request in the service's logs.
        notes: What of the sent file the answer does not hold; "" for nothing.
    """

    data: bytes
    content_type: str
    model_version: str
    request_id: str
    notes: str


class ClientError(Exception):
    """The service refused or failed.

    Attributes:
        status: Of HTTP.
        code: Of the problem document, such as ``mask_empty``; "" from something in front
            of the service, which sends none.
        detail: What was wrong.
        request_id: Names the request in the service's logs.
    """

    def __init__(self, status: int, code: str, *, detail: str, request_id: str) -> None:
        super().__init__(f"{status} {code}: {detail} (request {request_id})")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id


class Client:
    """Calls one service. Safe to share between threads: each call has its own connection."""

    def __init__(self, url: str, *, timeout_seconds: float = 180, max_retries: int = 5) -> None:
        """Name the service; nothing is sent.

        Args:
            url: Such as ``http://127.0.0.1:8000``.
            timeout_seconds: For each wait on the network.
            max_retries: How often a request that was answered 503 or 429 is sent again.

        Raises:
            ValueError: The URL is not one of http or https.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url={url!r}: give one like http://127.0.0.1:8000")
        self._parts = parts
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries

    def inpaint(
        self,
        image: bytes | Path,
        mask: bytes | Path | None = None,
        **options: Unpack[InpaintOptions],
    ) -> Answer:
        """Fill the hole of one image.

        Args:
            image: The file or its bytes: PNG, JPEG, WebP or TIFF.
            mask: Of the same size; white is hole. None with mask_convention="alpha": the
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
        self, content: bytes | Path, style: bytes | Path, **options: Unpack[StylizeOptions]
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
        self, path: str, files: Mapping[str, bytes | Path], options: Mapping[str, object]
    ) -> Answer:
        body, content_type = _multipart(
            {name: _bytes(source) for name, source in files.items()},
            {name: str(value) for name, value in options.items()},
        )
        response = self._send("POST", path, body, {"content-type": content_type})
        header = response.headers.get
        return Answer(
            data=response.body,
            content_type=header("content-type", ""),
            model_version=header("x-model-version", ""),
            request_id=header("x-request-id", ""),
            notes=header("x-image-notes", ""),
        )

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> "_Response":
        """Send, and again while the answer is 503 or 429. Raises: ClientError for every error."""
        for attempt in range(self._max_retries + 1):
            response = self._request(method, path, body, headers)
            if response.status < HTTPStatus.BAD_REQUEST:
                return response
            if response.status not in _AGAIN or attempt == self._max_retries:
                break
            time.sleep(_pause_seconds(response.headers.get("retry-after", "")))
        raise _error(response)

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> "_Response":
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        assert self._parts.hostname is not None
        connection = kind(self._parts.hostname, self._parts.port, timeout=self._timeout_seconds)
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            return _Response(response.status, response.headers, response.read())
        finally:
            connection.close()


@dataclass(frozen=True)
class _Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def _bytes(source: bytes | Path) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _multipart(files: dict[str, bytes], fields: dict[str, str]) -> tuple[bytes, str]:
    """A form and its content type."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, data in [*files.items(), *((name, v.encode()) for name, v in fields.items())]:
        filename = f'; filename="{name}"' if name in files else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _pause_seconds(retry_after: str) -> float:
    """How long the service asks to wait; a second where it does not say."""
    if retry_after.isdecimal():
        asked = float(retry_after)
    elif (moment := parsedate_tz(retry_after)) is not None:
        asked = mktime_tz(moment) - time.time()
    else:
        asked = 1.0
    return min(max(asked, 0.0), _LONGEST_PAUSE_SECONDS)


def _error(response: _Response) -> ClientError:
    request_id = response.headers.get("x-request-id", "")
    if response.headers.get_content_type() != "application/problem+json":
        # Of a proxy in front of the service.
        detail = response.body[:200].decode(errors="replace")
        return ClientError(response.status, "", detail=detail, request_id=request_id)
    document = json.loads(response.body)
    return ClientError(
        response.status,
        document["code"],
        detail=f"{document['detail']}; {document['hint']}",
        request_id=document["request_id"],
    )
