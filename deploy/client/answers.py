"""What the service answers: images and errors; sends nothing."""

import http.client
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Response:
    """As it came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


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
        status: The HTTP status.
        code: The code of the problem document, such as ``mask_empty``; "" from something in front
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


def answer_of(response: Response) -> Answer:
    """An image of the service."""
    header = response.headers.get
    return Answer(
        data=response.body,
        content_type=header("content-type", ""),
        model_version=header("x-model-version", ""),
        request_id=header("x-request-id", ""),
        notes=header("x-image-notes", ""),
    )


def error_of(response: Response) -> ClientError:
    """What went wrong, from a problem document or from something that sends none."""
    request_id = response.headers.get("x-request-id", "")
    if response.headers.get_content_type() != "application/problem+json":
        # From a proxy in front of the service, which sends no problem document.
        detail = response.body[:200].decode(errors="replace")
        return ClientError(response.status, "", detail=detail, request_id=request_id)
    document = json.loads(response.body)
    return ClientError(
        response.status,
        document["code"],
        detail=f"{document['detail']}; {document['hint']}",
        request_id=document["request_id"],
    )
