"""Clients of S3 stores, which notice within seconds when a store stalls; knows no `Storage`.

Endpoint and credentials come from AWS_* as for any S3 client.
"""

import asyncio
import functools
import os
import socket
from collections.abc import Coroutine
from typing import Any

from kintsugi.storage.s3_errors import region

# A store that takes up no connection, or sends nothing or takes nothing for so long, has
# stalled. S3 itself answers in fractions of a second.
CONNECT_SECONDS = 5.0
STALL_SECONDS = 10.0
# What has taken a file may be silent for longer while it stores or passes it on.
_LEAST_BYTES_PER_SECOND = 256 * 1024
LONGEST_SECONDS = 600.0


def write_object(client: Any, path: str, data: bytes) -> None:
    """Write an object whole, within a time that its size allows.

    Raises: ConnectionError when it takes longer, and what the client raises.
    """
    from fsspec.asyn import sync

    seconds = STALL_SECONDS + len(data) / _LEAST_BYTES_PER_SECOND
    sync(client.loop, _within, seconds, client._pipe_file(path, data))


async def _within(seconds: float, operation: Coroutine[Any, Any, Any]) -> Any:
    """Cancel what takes longer: to leave it running would let it overtake the next try."""
    try:
        return await asyncio.wait_for(operation, seconds)
    except TimeoutError as error:
        raise ConnectionError(f"not done after {seconds:.0f} s") from error


@functools.cache
def _descriptions() -> Any:
    """What botocore knows of S3: megabytes of JSON, which each client would read for itself."""
    from botocore.loaders import create_loader

    return create_loader(os.environ.get("AWS_DATA_PATH"))


def open_session() -> Any:
    """A session of the S3 client: follows no redirect, reads descriptions of services once."""
    from aiobotocore.session import AioSession

    session = AioSession()
    session.register_component("data_loader", _descriptions())
    session.register("before-call.s3.HeadBucket", _follow_no_redirect)
    return session


def _follow_no_redirect(context: dict[str, Any], **_: Any) -> None:
    """Mark a request as redirected already, which is followed no further.

    Redirected, botocore looks for the bucket's region by a HeadBucket, and for that one's again.
    """
    context.setdefault("s3_redirect", {})["redirected"] = True


def _open_socket(address: tuple[Any, ...]) -> socket.socket:
    opened = socket.socket(*address[:3])
    # Where the system can (Linux): what the other side does not take for so long ends the
    # connection. No timeout of aiohttp's sees an upload stall.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        opened.setsockopt(socket.IPPROTO_TCP, option, int(1000 * STALL_SECONDS))
    return opened


def open_s3(*, tries: int, silence: float, session: Any = None) -> Any:
    """Open a client for the endpoint and credentials that the environment names now.

    Args:
        tries: How often the client itself tries each request.
        silence: Seconds without a byte of an answer after which a request has failed.
        session: None for a client that is to be sent to another process: none can be sent.
    """
    import s3fs

    filesystem = s3fs.S3FileSystem(
        session=session,
        # Cached listings would hide what other processes write, and a cached
        # client would keep the endpoint and credentials of its first use.
        use_listings_cache=False,
        skip_instance_cache=True,
        # botocore itself reads only AWS_DEFAULT_REGION.
        client_kwargs={"region_name": region()},
        config_kwargs={
            "retries": {"total_max_attempts": tries, "mode": "standard"},
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": silence,
            "connector_args": {"socket_factory": _open_socket},
        },
    )
    # And those of answers that are cut short, which only s3fs sees.
    filesystem.retries = min(tries, 5)
    return filesystem
