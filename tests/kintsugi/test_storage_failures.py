"""kintsugi.storage when something is wrong: what passes is waited for, the rest is told."""

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from kintsugi.demo.object_store import Endpoint
from kintsugi.errors import StorageError
from kintsugi.retries import Retry
from kintsugi.storage import Storage


@pytest.mark.parametrize(("code", "calls"), [(errno.EIO, 3), (errno.ENOSPC, 1), (errno.EACCES, 1)])
def test_only_errors_that_may_pass_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, calls: int
) -> None:
    tried = []

    def fail(path: Path) -> bytes:
        tried.append(path)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(StorageError, match=os.strerror(code)):
        Storage(tmp_path, retry=Retry(tries=3, first_seconds=0.001)).read("a")
    assert len(tried) == calls


def test_wrong_credentials_are_told_at_once(
    object_store: Endpoint, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    patient = Retry(tries=100, first_seconds=60.0)
    for operate in (Storage(s3_uri, retry=patient).list, Storage(s3_uri, retry=patient).exists):
        with pytest.raises(StorageError, match="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            operate()


def test_missing_credentials_are_told_at_once(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError, match="set AWS_ACCESS_KEY_ID and"):
        Storage(s3_uri).list()


def test_a_missing_bucket_is_named(object_store: Endpoint) -> None:
    with pytest.raises(StorageError, match="create the bucket nosuch or check AWS_ENDPOINT_URL"):
        Storage("s3://nosuch/prefix").list()
    with pytest.raises(StorageError, match="create the bucket nosuch"):
        Storage("s3://nosuch/prefix").read("a")


def test_an_unreachable_store_is_named(
    object_store: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)
    pauses: list[float] = []
    monkeypatch.setattr("kintsugi.retries.time.sleep", pauses.append)
    with pytest.raises(StorageError, match=f"check that the object store runs.*{nowhere}"):
        Storage("s3://bucket", retry=Retry(tries=3, first_seconds=0.01)).list()
    assert len(pauses) == 2, "it may come back"


def test_a_store_that_comes_back_is_used(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(s3_uri, retry=Retry(tries=20, first_seconds=0.05))
    real = os.environ["AWS_ENDPOINT_URL"]
    with _RefusingProxy(real, refusals=3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        storage.write("a", b"1")
        assert proxy.refused == 3
    monkeypatch.setenv("AWS_ENDPOINT_URL", real)
    assert Storage(s3_uri).read("a") == b"1"


class _RefusingProxy:
    """Cuts the first connections to the store short and passes the others on."""

    def __init__(self, target: str, *, refusals: int) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target, self._refusals, self.refused = (host, int(port)), refusals, 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> "_RefusingProxy":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.refused < self._refusals:
                self.refused += 1
                client.close()
                continue
            store = socket.create_connection(self._target)
            for source, sink in ((client, store), (store, client)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for one in (source, sink):
            one.close()
