"""An object store's error names its cause and what mends it, for reading, writing and listing."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from kintsugi.errors import StorageError
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage

# Status, code, message, and what the error must name.
LASTING = [
    (403, "AccessDenied", "Access Denied", "s3:GetObject"),
    (403, "InvalidAccessKeyId", "unknown key", "AWS_ACCESS_KEY_ID"),
    (403, "SignatureDoesNotMatch", "sig", "AWS_SECRET_ACCESS_KEY"),
    (400, "ExpiredToken", "The provided token has expired.", "AWS_SESSION_TOKEN"),
    (400, "InvalidToken", "malformed", "AWS_SESSION_TOKEN"),
    (403, "RequestTimeTooSkewed", "too large", "clock"),
    (
        400,
        "AuthorizationHeaderMalformed",
        "wrong; expecting 'eu-west-1'",
        "AWS_REGION to eu-west-1",
    ),
    (301, "PermanentRedirect", "use the specified endpoint", "AWS_REGION"),
    (400, "InvalidArgument", "bad", "AWS_REQUEST_CHECKSUM_CALCULATION"),
    (501, "NotImplemented", "A header", "AWS_REQUEST_CHECKSUM_CALCULATION"),
    (400, "XAmzContentSHA256Mismatch", "no match", "AWS_REQUEST_CHECKSUM_CALCULATION"),
    (411, "MissingContentLength", "need length", "AWS_REQUEST_CHECKSUM_CALCULATION"),
    (404, "NoSuchBucket", "does not exist", "create the bucket bucket"),
    (507, "XMinioStorageFull", "minimum free drive threshold", "quota"),
    (403, "XMinioAdminBucketQuotaExceeded", "Bucket quota exceeded", "quota"),
    (400, "EntityTooLarge", "too large", "larger than the store takes"),
    (405, "MethodNotAllowed", "read only", "read-only"),
    (403, "InvalidObjectState", "archived in GLACIER", "restore it first"),
    (400, "KMS.DisabledException", "key disabled", "KMS"),
    (400, "InvalidBucketName", "bad name", "correct the URI"),
    (402, "AccountProblem", "pay", "account"),
    # A code that no table knows is judged by its status.
    (403, "SomethingNew", "no", "what they may do"),
    (409, "SomethingElse", "no", "AWS_ENDPOINT_URL"),
]


class Answering(BaseHTTPRequestHandler):
    """Answers every request with one error."""

    protocol_version = "HTTP/1.1"
    error: ClassVar[tuple[int, str, str]] = (500, "InternalError", "")
    asked: ClassVar[list[str]] = []

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.asked.append(self.command)
        status, code, message = self.error
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_REGION", raising=False)
    yield Storage("s3://bucket/prefix", retry=Retry(tries=3, first_seconds=0.01))
    server.shutdown()
    thread.join()
    server.server_close()


def says(store: Storage, operation: str) -> str:
    Answering.asked.clear()
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: store.read("a.jpg"),
        "write": lambda: store.write("a.jpg", b"x"),
        "list": store.list,
    }
    with pytest.raises(StorageError) as caught:
        calls[operation]()
    return str(caught.value)


@pytest.mark.parametrize(("status", "code", "message", "named"), LASTING)
def test_every_cause_is_named_at_once(
    store: Storage, status: int, code: str, message: str, named: str
) -> None:
    Answering.error = (status, code, message)
    for operation in ("read", "write", "list"):
        said = says(store, operation)
        assert named in said, operation
        assert message in said
        assert code in said
        # Once, and nothing asked before; after a redirect the bucket's region, once.
        assert len(Answering.asked) <= (2 if status == 301 else 1), operation
        assert status == 301 or "HEAD" not in Answering.asked


PASSING = [
    (503, "SlowDown"),
    (500, "InternalError"),
    (400, "IncompleteBody"),
    (429, "TooManyRequestsException"),
    # A code that no table knows is judged by its status.
    (429, "RateLimitExceeded"),
]


def test_bytes_that_were_flipped_on_the_way_are_sent_again(store: Storage) -> None:
    Answering.error = (400, "BadDigest", "no match")
    assert "AWS_REQUEST_CHECKSUM_CALCULATION" in says(store, "write"), "if it never helps"
    assert len(Answering.asked) == 3


@pytest.mark.parametrize(("status", "code"), PASSING)
def test_what_may_pass_is_tried_again(store: Storage, status: int, code: str) -> None:
    Answering.error = (status, code, "later")
    for operation in ("read", "write", "list"):
        assert "busy or gone for now" in says(store, operation)
        assert len(Answering.asked) == 3
