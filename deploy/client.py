"""Python client of the service; needs nothing but the standard library.

answer = Client("http://127.0.0.1:8000").inpaint(Path("photo.jpg"), Path("mask.png"))
Path("filled.png").write_bytes(answer.data)

From the command line:

python -m deploy.client photo.jpg mask.png filled.png --option feather=8
"""

import argparse
import http.client
import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal, TypedDict, Unpack, cast
from urllib.parse import urlsplit

_LONGEST_PAUSE_SECONDS = 30.0


class Options(TypedDict, total=False):
    """Options of `Client.inpaint`; values and defaults as `deploy.options.InpaintOptions`."""

    mask_convention: Literal["white", "alpha"]
    grow_mask: int
    feather: int
    format: Literal["png", "jpeg", "webp", "tiff"]
    quality: int
    scales: int | Literal["auto"]
    seed: int


@dataclass(frozen=True)
class Answer:
    """A filled image.

    Attributes:
        data: Bytes of the image file.
        content_type: Such as ``image/png``.
        model_version: Name and digest of the release that filled the hole.
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
            max_retries: How often a request that was answered 503 is sent again.

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
        **options: Unpack[Options],
    ) -> Answer:
        """Fill the hole of one image.

        Args:
            image: The file or its bytes: PNG, JPEG, WebP or TIFF.
            mask: Of the same size; white is hole. None with mask_convention="alpha": the
                image's transparent part.
            options: See Options.

        Raises:
            ClientError: The service refused or failed.
            OSError: A file cannot be read, or there was no connection.
            http.client.HTTPException: The connection broke, or what answered speaks no HTTP.
        """
        files = {"image": _bytes(image)}
        if mask is not None:
            files["mask"] = _bytes(mask)
        body, content_type = _multipart(files, {name: str(v) for name, v in options.items()})
        response = self._send("POST", "/v1/inpaint", body, {"content-type": content_type})
        header = response.headers.get
        return Answer(
            data=response.body,
            content_type=header("content-type", ""),
            model_version=header("x-model-version", ""),
            request_id=header("x-request-id", ""),
            notes=header("x-image-notes", ""),
        )

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

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> "_Response":
        """Send, and again while the answer is 503. Raises: ClientError for every error."""
        for attempt in range(self._max_retries + 1):
            response = self._request(method, path, body, headers)
            if response.status < HTTPStatus.BAD_REQUEST:
                return response
            if response.status != HTTPStatus.SERVICE_UNAVAILABLE or attempt == self._max_retries:
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
    asked = float(retry_after) if retry_after.isdecimal() else 1.0
    return min(asked, _LONGEST_PAUSE_SECONDS)


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


def _inpaint(url: str, image: bytes, mask: bytes, options: Options) -> Answer:
    """Raises: ConnectionError naming the service when it is not reached."""
    try:
        return Client(url).inpaint(image, mask, **options)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        raise ConnectionError(f"{why}: is the service up at {url}?") from error


def main(argv: Sequence[str]) -> int:
    """Fill the hole of one photograph; 0 done, 1 refused or not reached, 2 wrong usage."""
    parser = argparse.ArgumentParser(description="Fill the hole of one photograph.")
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path, help="of the image's size; white is hole")
    parser.add_argument("output", type=Path, help="where the answer is written")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--option", metavar="NAME=VALUE", action="append", default=[])
    args = parser.parse_args(argv)
    # The service checks them, and names a wrong one and its values.
    options = cast(Options, dict(option.partition("=")[::2] for option in args.option))
    try:
        # Read here: what goes wrong with a file is not the connection's fault.
        image, mask = args.image.read_bytes(), args.mask.read_bytes()
        answer = _inpaint(args.url, image, mask, options)
        args.output.write_bytes(answer.data)
    except (ClientError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.output}: {answer.content_type}, filled by {answer.model_version}")
    if answer.notes:
        print(answer.notes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
