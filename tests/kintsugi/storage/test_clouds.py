"""kintsugi.storage.clouds: gs:// and az:// as folders and S3 are, against servers that run here."""

import importlib.util
import pickle
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage import clouds, s3
from kintsugi.storage.clouds import Clouds
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage, file_at

ONCE = Retry(tries=1)
ACCOUNT = "AccountName=a;AccountKey=a2V5"
FILES = {"a": b"", "b/c d+e%20#?.txt": b"\0\xff", "b/d/e": b"deep", "bb": b"2"}


def filled(uri: str) -> Storage:
    storage = Storage(uri, retry=ONCE)
    for name, data in FILES.items():
        storage.write(name, data)
    return storage


def test_what_is_written_is_read_and_listed(cloud: str) -> None:
    assert Storage(cloud).list() == []
    storage = filled(cloud)
    assert {name: storage.read(name) for name in FILES} == FILES
    assert storage.sizes() == {name: len(data) for name, data in FILES.items()}
    assert storage.list("b") == ["b/c d+e%20#?.txt", "b/d/e"], "and not all that starts so"
    assert [storage.exists(name) for name in ("a", "b", "c")] == [True, True, False]
    again = pickle.loads(pickle.dumps(storage))  # noqa: S301
    assert again.join("b", "d").read("e") == b"deep"
    storage.write("a", b"new")
    assert storage.read("a") == b"new"
    for _ in range(2):
        storage.delete("a")
        storage.delete_folder("b")
    assert storage.list() == ["bb"]


def test_a_long_listing_comes_in_pages(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = filled(cloud)
    monkeypatch.setattr(clouds, "_PAGE_OBJECTS", 2)
    pages = list(storage.walk())
    assert [len(page) for page in pages] == [2, 2]
    assert sorted(name for page in pages for name in page) == sorted(FILES)


def test_a_range_is_read_and_a_short_one_is_an_error(cloud: str) -> None:
    storage = filled(cloud)
    assert storage.read_range("b/d/e", 1, 2) == b"ee"
    assert storage.read_range("b/d/e", 4, 0) == b""
    with pytest.raises(StorageError, match=r"b/d/e ends after 4 bytes.*cut short or replaced"):
        storage.read_range("b/d/e", 2, 9)


def test_arrow_reads_it(cloud: str) -> None:
    storage = filled(cloud)
    filesystem, path = storage.arrow_filesystem()
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    names = {info.path.removeprefix(f"{path}/") for info in found if info.is_file}
    assert names == set(FILES)


def test_errors_name_the_place_and_the_remedy(cloud: str) -> None:
    storage = filled(cloud)
    with pytest.raises(StorageError, match=rf"cannot read {cloud}/none: .*check the URI") as caught:
        storage.read("none")
    assert "\n" not in str(caught.value)
    assert not caught.value.may_pass
    missing = Storage(cloud.replace("kintsugi-tests", "nobody-made-this"), retry=ONCE)
    with pytest.raises(StorageError, match="nobody-made-this") as caught:
        missing.list()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("az", "azure")])
def test_without_the_client_the_extra_is_named(
    scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf'{scheme}:// needs .*inpainting\[{extra}\]"'):
        Storage(f"{scheme}://bucket/photos")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gs://", "names no bucket: write gs://bucket/prefix"),
        ("az:///x", "names no container: write az://container/prefix"),
        ("az://key:word@account/x", "holds no credentials: set AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_uris_that_name_no_place(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Storage(uri)
    assert "word" not in str(caught.value)


def test_a_file_is_named_by_its_uri() -> None:
    storage, name = file_at("gs://bucket/photos/a.tar")
    assert (storage.uri, name) == ("gs://bucket/photos", "a.tar")


def test_azure_without_an_account_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONNECTION_STRING", "ACCOUNT_NAME", "ACCOUNT_KEY"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    with pytest.raises(ConfigError, match=r"cannot be opened: .*AZURE_STORAGE_CONNECTION_STRING"):
        Storage("az://photos/train", retry=ONCE).list()


VERBS = ("read", "size", "exists", "list", "delete", "write")


@pytest.mark.parametrize(
    ("scheme", "verb"), [(scheme, verb) for scheme in ("gs", "az") for verb in VERBS]
)
def test_a_store_that_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, scheme: str, verb: str
) -> None:
    """It takes up connections and answers none; each request is made once."""
    monkeypatch.setattr(clouds, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(s3, "STALL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"DefaultEndpointsProtocol=http;{ACCOUNT};BlobEndpoint={url}/a;",
        )
        storage = Storage(f"{scheme}://photos/train", retry=ONCE)
        calls: dict[str, Callable[[], object]] = {
            "read": lambda: storage.read("a"),
            "size": lambda: storage.size("a"),
            "exists": lambda: storage.exists("a"),
            "list": storage.list,
            "delete": lambda: storage.delete("a"),
            "write": lambda: storage.write("a", b"x"),
        }
        with pytest.raises(StorageError, match="check the network and that the store runs") as said:
            calls[verb]()
        assert said.value.may_pass
        silent.settimeout(0)
        taken = 0
        with suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                taken += 1
    # Of a name Google's is asked whether it is an object, or a folder.
    assert taken == (2 if (scheme, verb) in {("gs", "size"), ("gs", "exists")} else 1)


def test_azure_waits_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;{ACCOUNT};BlobEndpoint=http://127.0.0.1:1/a;",
    )
    place = Clouds("az")
    limits = [place._client(writing=writing)._timeout_kwargs for writing in (False, True)]
    assert [each["read_timeout"] for each in limits] == [s3.STALL_SECONDS, s3.LONGEST_SECONDS]
    assert {each["connection_timeout"] for each in limits} == {s3.CONNECT_SECONDS}


class _EmptyListing(BaseHTTPRequestHandler):
    """Answers every question for a listing of Azure's, and keeps what vouched for who asked."""

    def do_GET(self) -> None:
        self.server.asked.append(  # type: ignore[attr-defined]
            (self.headers.get("Authorization") or "", "sig=abc" in self.path)
        )
        body = b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("account", "key", "is_signed"),
    [(ACCOUNT, "SharedKey a:", False), ("SharedAccessSignature=sv=1&sig=abc", "", True)],
)
def test_azure_is_asked_with_the_credentials_that_are_there(
    monkeypatch: pytest.MonkeyPatch, account: str, key: str, is_signed: bool
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _EmptyListing) as server:
        server.asked = asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/a"
        connection = f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={url};"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        assert Storage("az://photos/train", retry=ONCE).list() == []
        server.shutdown()
    ((authorization, has_signature),) = asked
    assert authorization.startswith(key)
    assert has_signature == is_signed


class Answered(Exception):
    """An answer of a store, as its clients raise it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.status_code = code


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (Answered(503), True),
        (Answered(429), True),
        (Answered(403), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (OSError("Forbidden"), False),
    ],
)
def test_what_is_tried_again(error: Any, passes: bool) -> None:
    assert Clouds("gs").is_transient(error) == passes
