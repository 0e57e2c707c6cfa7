"""Google's and Azure's object stores for `kintsugi.storage.storage`, through fsspec.

Credentials are found as each store's own tools find them: GOOGLE_APPLICATION_CREDENTIALS or the
machine's account; AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or
AZURE_STORAGE_CONNECTION_STRING. Each needs an extra, which brings its client.
"""

import functools
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kintsugi.errors import ConfigError
from kintsugi.storage.backends import Ask, Survey, only_files
from kintsugi.storage.s3 import CONNECT_SECONDS, LONGEST_SECONDS, STALL_SECONDS, write_object

# Objects of one request; the stores themselves give no more.
_PAGE_OBJECTS = 5000
# Answers that may be others later.
_PASSING_CODES = {408, 425, 429, 500, 502, 503, 504}
# What came to no whole answer, by the clients' names; "ProxyError" is gcsfs's for 502.
_PASSING = {"ClientError", "ServiceRequestError", "ServiceResponseError", "TransportError"}
_PASSING |= {"ProxyError", "ChecksumError", "RefreshError"}
_LASTING = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError)
# Whose errors are the store's, and not this program's.
_CLIENTS = ("gcsfs.", "google.", "azure.", "adlfs.", "aiohttp.", "requests.")
_MOST_CODE = 599


@dataclass(frozen=True)
class Cloud:
    """One kind of object store.

    Attributes:
        client: The package that speaks to it.
        extra: Of this distribution, which brings that package.
        bucket: What the store calls a bucket.
        secrets: Variables that hold credentials, in words.
    """

    client: str
    extra: str
    bucket: str
    secrets: str


CLOUDS = {
    "gs": Cloud("gcsfs", "gcs", "bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
    "az": Cloud(
        "adlfs",
        "azure",
        "container",
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or"
        " AZURE_STORAGE_CONNECTION_STRING",
    ),
}


def check_installed(scheme: str) -> None:
    """Imports nothing. Raises: ConfigError that names the extra: the client is not installed."""
    cloud = CLOUDS[scheme]
    if importlib.util.find_spec(cloud.client) is None:
        raise ConfigError(
            f"{scheme}:// needs the package {cloud.client}, which is not installed:"
            f' pip install "kintsugi-inpainting[{cloud.extra}]"'
        )


class Clouds:
    """Buckets of one kind of store; a `Backend`."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        self._lock = threading.Lock()
        # By process, since a connection does not survive a fork, and whether for writing.
        self._clients: dict[tuple[int, bool], Any] = {}

    def read(self, path: str) -> bytes:
        data: bytes = self._client().cat_file(path)
        return data

    def read_range(self, path: str, start: int, length: int) -> bytes:
        data: bytes = self._client().cat_file(path, start=start, end=start + length)
        return data

    def write(self, path: str, data: bytes) -> None:
        # An object appears when all of it has been sent, in one request or in several.
        write_object(self._client(writing=True), path, data)

    def exists(self, path: str) -> bool:
        return bool(self._client().exists(path))

    def size(self, path: str) -> int:
        return int(self._client().info(path)["size"])

    def pages(self, path: str, ask: Ask) -> Iterator[Survey]:
        bucket, _, prefix = path.partition("/")
        start = f"{prefix}/" if prefix else ""
        token = ""
        while True:
            names, token = ask(functools.partial(self._page, bucket, start, token))
            yield Survey(only_files({name[len(start) :]: size for name, size in names}), {})
            if not token:
                return

    def _page(self, bucket: str, start: str, token: str) -> tuple[list[tuple[str, int]], str]:
        page = _google_page if self._scheme == "gs" else _azure_page
        return page(self._client(), bucket, start, token)

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._client().rm_file(path)

    def delete_folder(self, path: str) -> None:
        for page in self.pages(path, lambda request: request()):
            for name in page.sizes:
                self.delete(f"{path}/{name}")

    def sweep(self, path: str) -> None:
        """Nothing: a cut upload is no object, and the store itself forgets it after a week."""

    def arrow_filesystem(self) -> Any:
        from pyarrow import fs

        # Arrow calls it past the retries of `Storage`, so this client keeps its own.
        return fs.PyFileSystem(fs.FSSpecHandler(_open(self._scheme, LONGEST_SECONDS)))

    def is_storage_error(self, error: Exception) -> bool:
        module = f"{type(error).__module__}."
        return isinstance(error, (OSError, TimeoutError)) or module.startswith(_CLIENTS)

    def is_transient(self, error: Exception) -> bool:
        if isinstance(error, _LASTING):
            return False
        code = _code_of(error)
        if code == 401 and "Invalid Credentials" in str(error):
            return True  # A token that ran out on its way.
        if code is not None:
            return code in _PASSING_CODES
        # What came to no answer: a name that is not found, a connection that broke.
        names = {each.__name__ for each in type(error).__mro__}
        return isinstance(error, (ConnectionError, TimeoutError)) or bool(names & _PASSING)

    def remedy(self, error: Exception, path: str) -> str:
        cloud, bucket = CLOUDS[self._scheme], path.partition("/")[0]
        if isinstance(error, FileNotFoundError) or _code_of(error) == 404:
            return f"check the URI, and that there is a {cloud.bucket} {bucket}"
        if self.is_transient(error):
            return "check the network and that the store runs"
        return f"check who may read and write {bucket}, and {cloud.secrets}"

    def _client(self, *, writing: bool = False) -> Any:
        with self._lock:
            key = os.getpid(), writing
            if key not in self._clients:
                # How long a write may be silent depends on its size: `write_object` sees to it.
                silence = LONGEST_SECONDS if writing else STALL_SECONDS
                client = _open(self._scheme, silence)
                if self._scheme == "gs":
                    _try_once(client)
                else:
                    _limit(client, silence)
                self._clients[key] = client
            return self._clients[key]


def _try_once(client: Any) -> None:
    """Take away the six tries of each request: `Storage` repeats it, and knows when to stop."""
    once = type(client)._request.__wrapped__
    client._request = functools.partial(once, client)


def _limit(client: Any, silence: float) -> None:
    """Let each request to Azure end in time, and be made once: `Storage` repeats it.

    What adlfs takes as limits counts for reading and writing alone. Listings, and questions for a
    name, would wait for 60 seconds four times, and up to 42 in between.
    """
    from azure.storage.blob.aio import BlobServiceClient

    usual = client.service_client
    client.service_client = BlobServiceClient(
        usual.url,
        credential=usual.credential,
        retry_total=0,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=silence,
    )


def _open(scheme: str, silence: float) -> Any:
    """A client that gives up a request after so many seconds without a byte of an answer."""
    # Cached listings would hide what other processes write, and a cached client would keep the
    # credentials of its first use.
    how: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "gs":
        # Not `gcsfs` itself, which asks for the kind of each bucket by another protocol first.
        from aiohttp import ClientTimeout
        from gcsfs.core import GCSFileSystem

        # Else it would wait for ever for a store that is silent.
        limits = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        return GCSFileSystem(requests_timeout=limits, **how)
    from adlfs import AzureBlobFileSystem

    try:
        # Else it would take a container for public, whatever credentials there are.
        return AzureBlobFileSystem(
            anon=False, connection_timeout=CONNECT_SECONDS, read_timeout=silence, **how
        )
    except ValueError as error:
        raise ConfigError(
            f"{scheme}:// cannot be opened: {error}: set {CLOUDS[scheme].secrets}"
        ) from error


def _google_page(
    client: Any, bucket: str, start: str, token: str
) -> tuple[list[tuple[str, int]], str]:
    more = {"pageToken": token} if token else {}
    answer = client.call(
        "GET", "b/{}/o", bucket, prefix=start, maxResults=_PAGE_OBJECTS, json_out=True, **more
    )
    names = [(each["name"], int(each["size"])) for each in answer.get("items", ())]
    return names, answer.get("nextPageToken", "")


def _azure_page(
    client: Any, container: str, start: str, token: str
) -> tuple[list[tuple[str, int]], str]:
    from fsspec.asyn import sync

    async def page() -> tuple[list[tuple[str, int]], str]:
        async with client.service_client.get_container_client(container) as connection:
            blobs = connection.list_blobs(
                name_starts_with=start, results_per_page=_PAGE_OBJECTS, include=["metadata"]
            )
            pages = blobs.by_page(continuation_token=token or None)
            # Stores with folders list those, too, as empty blobs of this mark.
            names = [
                (blob.name, int(blob.size))
                async for blob in await anext(pages)
                if (blob.metadata or {}).get("hdi_isfolder") != "true"
            ]
            return names, pages.continuation_token or ""

    found: tuple[list[tuple[str, int]], str] = sync(client.loop, page)
    return found


def _code_of(error: Exception) -> int | None:
    """The code of an answer over HTTP, where the error is one."""
    for name in ("status_code", "status", "code"):
        code = getattr(error, name, None)
        if isinstance(code, int) and 100 <= code <= _MOST_CODE:
            return code
    return None
