"""kintsugi.storage.storage when something is wrong: what passes is waited for, not the rest."""

import errno
import os
import socket
from pathlib import Path

import pytest

from kintsugi.errors import StorageError
from kintsugi.servers.object_store import Endpoint
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage


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


def test_wrong_credentials_are_reported_at_once(
    object_store: Endpoint, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    patient = Retry(tries=100, first_seconds=60.0)
    for operate in (Storage(s3_uri, retry=patient).list, Storage(s3_uri, retry=patient).exists):
        with pytest.raises(StorageError, match="AWS_SECRET_ACCESS_KEY"):
            operate()


def test_missing_credentials_are_reported_at_once(
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
    monkeypatch.setattr("kintsugi.storage.retry.time.sleep", pauses.append)
    with pytest.raises(StorageError, match=f"check that the object store runs.*{nowhere}"):
        Storage("s3://bucket", retry=Retry(tries=3, first_seconds=0.01)).list()
    assert len(pauses) == 2, "it may come back"
