"""One door to folders and object stores; knows nothing of what is stored.

A place is named by a URI: a plain path, `~`, `file://...`, `s3://bucket/prefix`,
`gs://bucket/prefix` or `az://container/prefix`. Endpoint and credentials of an S3 store come from
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; of the others see
`kintsugi.storage.clouds`. Names inside a place are relative and use `/`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage.backends import Backend, Buckets, LocalFolders, Survey
from kintsugi.storage.clouds import CLOUDS, Clouds, check_installed
from kintsugi.storage.retry import Retry, call_with_retries

Result = TypeVar("Result")
# Starts of the URIs of object stores, and what such a store calls a bucket.
_BUCKETS = {"s3://": "bucket", **{f"{name}://": cloud.bucket for name, cloud in CLOUDS.items()}}
_AWS_SECRETS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_KNOWN = "a path, file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"


class Storage:
    """A folder or a prefix of a bucket.

    Every operation repeats what may pass by itself and raises StorageError,
    naming the URI and the remedy, for what does not. An object travels to
    other processes as its URI and finds their own endpoint and credentials.
    """

    def __init__(self, uri: str | os.PathLike[str], *, retry: Retry | None = None) -> None:
        """Name a place; nothing is opened or created.

        Args:
            uri: Path or URI; a relative path is taken from the current folder.
            retry: How often and how long an operation is tried.

        Raises:
            ConfigError: The scheme is not known or the URI names no place.
        """
        self.uri = _normalise(os.fspath(uri))
        self._retry = retry or Retry()
        self._backend: Backend = _backend_of(self.uri)

    def __reduce__(self) -> tuple[object, ...]:
        return _open, (self.uri, self._retry)

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    @property
    def is_bucket(self) -> bool:
        """True for an object store, False for a folder of this machine."""
        return self.uri.startswith(tuple(_BUCKETS))

    def join(self, *parts: str) -> "Storage":
        """Name a place below this one; both share their connection."""
        below = Storage("/".join([self.uri.rstrip("/"), *(part.strip("/") for part in parts)]))
        below._retry, below._backend = self._retry, self._backend
        return below

    def lies_in(self, other: "Storage") -> bool:
        """Whether this place is the other or below it, by whatever path either was named."""
        if self.is_bucket or other.is_bucket:
            return f"{self.uri}/".startswith(f"{other.uri.rstrip('/')}/")
        here, there = (Path(os.path.realpath(place.uri)) for place in (self, other))
        return any(_is_one_place(each, there) for each in (here, *here.parents))

    def is_same_place(self, other: "Storage") -> bool:
        """Whether this place and the other are one, by whatever path either was named."""
        return self.lies_in(other) and other.lies_in(self)

    def exists(self, name: str = "") -> bool:
        """True when there is a file or a folder of this name."""
        return self._do("look for", name, self._backend.exists)

    def list(self, prefix: str = "") -> list[str]:
        """List the files under a folder, at any depth, by name relative to this place.

        Sorted; a folder that does not exist is an empty one.

        Raises: StorageError: a part of it cannot be listed, too.
        """
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of each file that `list` names.

        Raises: StorageError: a part of it cannot be listed, too.
        """
        return {name: size for page in self.walk(prefix) for name, size in page.items()}

    def size(self, name: str) -> int:
        """Bytes of one file. Raises: StorageError: it is not there, too."""
        return self._do("look for", name, self._backend.size)

    def walk(self, prefix: str = "") -> Iterator[dict[str, int]]:
        """`sizes` page by page and in no order, so that a listing is never in memory whole.

        Raises: StorageError: a part of it cannot be listed; said at the end, of all such parts.
        """
        unreadable: dict[str, str] = {}
        for page in self._pages(prefix):
            unreadable |= page.unreadable
            if page.sizes:
                yield page.sizes
        if unreadable:
            names = sorted(unreadable)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise StorageError(
                f"cannot list {', '.join(f'{self.uri}/{name}'.rstrip('/') for name in names[:3])}"
                f"{more}: {unreadable[names[0]]}: check who may read there; half a listing is none"
            )

    def survey(self, prefix: str = "") -> Survey:
        """What is under a folder, as `list`, and which folders in it cannot be listed."""
        found = Survey({}, {})
        for page in self._pages(prefix):
            found.sizes.update(page.sizes)
            found.unreadable.update(page.unreadable)
            found.special.update(page.special)
        return found

    def _pages(self, prefix: str) -> Iterator[Survey]:
        start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

        def ask(request: Callable[[], Any]) -> Any:
            return self._do("list", prefix, lambda _: request())

        for page in self._backend.pages(self._path(prefix), ask):
            yield Survey(
                {start + name: size for name, size in page.sizes.items()},
                {(start + name).rstrip("/"): why for name, why in page.unreadable.items()},
                {start + name: what for name, what in page.special.items()},
            )

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        return self._do("read", name, self._backend.read)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Read so many bytes of a file, from its byte ``start`` on.

        Raises: StorageError: it ends before, too.
        """
        if not length:
            return b""
        data = self._do("read", name, lambda path: self._backend.read_range(path, start, length))
        if len(data) != length:
            raise StorageError(
                f"{self.uri}/{name} ends after {start + len(data)} bytes, and {length} were to be"
                f" read from {start} on: it was cut short or replaced"
            )
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file: it appears complete or not at all.

        One that is there is replaced, and who may read it stays; a link is replaced as well, and
        what it leads to stays.
        """
        self._do("write", name, lambda path: self._backend.write(path, data))

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is deleted already."""
        self._do("delete", name, self._backend.delete)

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all that is in it; one that is not there is deleted already."""
        if not name.strip("/"):
            raise StorageError(f"refused to delete all of {self.uri}: name a folder in it")
        self._do("delete", name, self._backend.delete_folder)

    def sweep(self) -> None:
        """Delete what writers that were killed an hour ago or more left half written."""
        self._do("clear", "", self._backend.sweep)

    def publish_folder(self, local: Path, name: str, *, last: str) -> None:
        """Upload a folder so that it is complete as soon as the file `last` is there.

        Raises:
            StorageError: `local` has no file `last`, or writing failed.
        """
        files = sorted(p.relative_to(local).as_posix() for p in local.rglob("*") if p.is_file())
        if last not in files:
            raise StorageError(f"cannot publish {local}: it has no {last}, which marks it complete")
        there = self.join(name)
        # A mark from an earlier time would vouch for a mixture of old and new.
        there.delete(last)
        for file in [*(file for file in files if file != last), last]:
            there.write(file, (local / file).read_bytes())

    def fetch_folder(self, name: str, local: Path) -> None:
        """Download every file of a folder.

        Raises:
            StorageError: There is no such folder, or reading failed.
        """
        there, here = self.join(name), Storage(local)
        files = there.list()
        if not files:
            raise StorageError(f"there is nothing at {there.uri}: check the URI")
        for file in files:
            here.write(file, there.read(file))

    def arrow_filesystem(self) -> tuple[Any, str]:
        """Open this place for Arrow: (pyarrow file system, path in it).

        This is what Ray Train takes as storage_filesystem and storage_path.
        """
        return self._backend.arrow_filesystem(), self._path("")

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts:
            raise StorageError(f"{name!r} leads out of {self.uri}: use a name inside it")
        place = self.uri.partition("://")[2] if self.is_bucket else self.uri
        return "/".join(part for part in [place, name.strip("/")] if part)

    def _do(self, verb: str, name: str, operation: Callable[[str], Result]) -> Result:
        path, backend = self._path(name), self._backend
        where = f"{self.uri.partition('://')[0]}://{path}" if self.is_bucket else path
        try:
            return call_with_retries(
                lambda: operation(path),
                retry=self._retry,
                is_transient=backend.is_transient,
                what=f"{verb} {where}",
            )
        except Exception as error:
            if not backend.is_storage_error(error):
                raise
            # Of some stores' answers the first line says it, and the rest is all of the answer.
            first = str(error).partition("\n")[0]
            why = getattr(error, "strerror", None) or first or type(error).__name__
            remedy = backend.remedy(error, path)
            raise StorageError(
                f"cannot {verb} {where}: {why}: {remedy}", may_pass=backend.is_transient(error)
            ) from error


def file_at(uri: str) -> tuple[Storage, str]:
    """A file's URI or path as the folder it lies in and its name there.

    Raises: ConfigError: It names no file, or its scheme is not known.
    """
    if uri.startswith("file://"):
        # As in a folder's URI: `%20` is a space. Of a path, and of a key, it is part of the name.
        path = urlsplit(uri)
        if path.netloc not in ("", "localhost"):
            raise ConfigError(f"{uri} is on another machine: use file:///path")
        uri = unquote(path.path)
    folder, _, name = uri.rpartition("/")
    if not name:
        raise ConfigError(f"{uri!r} names no file")
    return Storage(folder or ("/" if uri.startswith("/") else ".")), name


def _is_one_place(one: Path, other: Path) -> bool:
    """Also where the names differ, as in a file system without upper and lower case."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def _open(uri: str, retry: Retry) -> Storage:
    return Storage(uri, retry=retry)


def _normalise(uri: str) -> str:
    if not uri:
        raise ConfigError("the URI is empty: give a path or s3://bucket/prefix")
    if "://" not in uri:
        return str(Path(uri).expanduser().absolute())
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return str(Path(unquote(parts.path)).absolute())
    if f"{parts.scheme}://" in _BUCKETS:
        return _normalise_bucket(uri)
    raise ConfigError(f"{parts.scheme}:// in {uri} is not known: use {_KNOWN}")


def _normalise_bucket(uri: str) -> str:
    # Not through urlsplit: a key may hold `?` and `#`.
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:
        secrets = CLOUDS[scheme].secrets if scheme in CLOUDS else _AWS_SECRETS
        raise ConfigError(f"an {scheme}:// URI holds no credentials: set {secrets}")
    if not bucket:
        kind = _BUCKETS[f"{scheme}://"]
        raise ConfigError(f"{uri} names no {kind}: write {scheme}://{kind}/prefix")
    return "/".join([f"{scheme}:/", bucket, *(part for part in prefix.split("/") if part)])


def _backend_of(uri: str) -> Backend:
    scheme = uri.partition("://")[0]
    if scheme in CLOUDS:
        check_installed(scheme)
        return Clouds(scheme)
    return Buckets() if uri.startswith("s3://") else LocalFolders()
