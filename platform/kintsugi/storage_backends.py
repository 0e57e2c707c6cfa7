"""The two places that `kintsugi.storage` reads and writes: a local folder and an S3 bucket.

Plain operations without retries; each backend tells which of its errors may
pass by themselves and what a user can do about the others.
"""

import errno
import functools
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any, Protocol

_PARTIAL_SUFFIX = ".partial"
# What says one of these will say it again.
_LASTING_ERRORS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_LASTING_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENOSYS,
}


class Backend(Protocol):
    """What `Storage` needs of a place; `path` is a full path inside it."""

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes) -> None: ...

    def exists(self, path: str) -> bool: ...

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of each file under the folder by its name relative to it."""

    def delete(self, path: str) -> None: ...

    def delete_folder(self, path: str) -> None: ...

    def arrow_filesystem(self) -> Any: ...

    def is_storage_error(self, error: Exception) -> bool: ...

    def is_transient(self, error: Exception) -> bool: ...

    def remedy(self, error: Exception, path: str) -> str: ...


class LocalFolders:
    """Files of this machine, or of a network file system mounted on it."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Unique to process and thread: two writers of one name must not share it.
        unique = f"{os.getpid()}-{threading.get_ident()}"
        partial = target.with_name(f".{target.name}.{unique}{_PARTIAL_SUFFIX}")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def sizes(self, path: str) -> dict[str, int]:
        root = Path(path)
        files = (Path(at, name) for at, _, names in os.walk(root) for name in names)
        return {
            file.relative_to(root).as_posix(): file.stat().st_size
            for file in files
            if not file.name.endswith(_PARTIAL_SUFFIX) and file.is_file()
        }

    def delete(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def delete_folder(self, path: str) -> None:
        if Path(path).exists():
            shutil.rmtree(path)

    def arrow_filesystem(self) -> Any:
        from pyarrow import fs

        return fs.LocalFileSystem()

    def is_storage_error(self, error: Exception) -> bool:
        return isinstance(error, OSError)

    def is_transient(self, error: Exception) -> bool:
        # Network file systems report their hiccups as EIO, ESTALE and the like.
        return (
            isinstance(error, OSError)
            and not isinstance(error, _LASTING_ERRORS)
            and error.errno not in _LASTING_ERRNOS
        )

    def remedy(self, error: Exception, path: str) -> str:
        if isinstance(error, FileNotFoundError):
            return "check the path"
        if isinstance(error, PermissionError):
            return "check who may read and write there"
        return "check the disk"


class Buckets:
    """S3 buckets; endpoint and credentials come from AWS_* as for any S3 client."""

    def __init__(self) -> None:
        # Where INFO is shown, they would say for every client where its credentials are from.
        for name in ("aiobotocore", "botocore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._lock = threading.Lock()
        # By process.
        self._clients: dict[int, Any] = {}

    def read(self, path: str) -> bytes:
        data: bytes = self._s3().cat_file(path)
        return data

    def write(self, path: str, data: bytes) -> None:
        # One PUT or one completed multipart upload: either appears whole or not at all.
        self._s3().pipe_file(path, data)

    def exists(self, path: str) -> bool:
        return bool(self._s3().exists(path))

    def sizes(self, path: str) -> dict[str, int]:
        found = self._s3().find(path, detail=True)
        names = {key[len(path) + 1 :]: int(info["size"]) for key, info in found.items()}
        # Some tools mark a folder by an empty object whose name ends with a slash.
        return {name: size for name, size in names.items() if name and not name.endswith("/")}

    def delete(self, path: str) -> None:
        self._s3().rm_file(path)

    def delete_folder(self, path: str) -> None:
        files = [f"{path}/{name}" for name in self.sizes(path)]
        if files:
            self._s3().rm(files)

    def arrow_filesystem(self) -> Any:
        from pyarrow import fs

        # Arrow calls it past the retries of `Storage`, so this client keeps its own.
        return fs.PyFileSystem(fs.FSSpecHandler(_open_s3(tries=5)))

    def is_storage_error(self, error: Exception) -> bool:
        from aiohttp import ClientError as ConnectionLost
        from botocore.exceptions import BotoCoreError

        return isinstance(error, (OSError, BotoCoreError, ConnectionLost))

    def is_transient(self, error: Exception) -> bool:
        from botocore.exceptions import BotoCoreError, HTTPClientError
        from botocore.exceptions import ConnectionError as Unreachable
        from botocore.parsers import ResponseParserError

        if isinstance(error, (Unreachable, HTTPClientError, ResponseParserError)):
            return True
        if isinstance(error, (*_LASTING_ERRORS, BotoCoreError)):
            return False
        lasting = isinstance(error, OSError) and error.errno in _LASTING_ERRNOS
        return self.is_storage_error(error) and not lasting

    def remedy(self, error: Exception, path: str) -> str:
        from botocore.exceptions import NoCredentialsError

        endpoint = os.environ.get("AWS_ENDPOINT_URL", "not set: Amazon's own")
        if isinstance(error, NoCredentialsError):
            return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if isinstance(error, PermissionError):
            return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and what they may do"
        if isinstance(error, FileNotFoundError):
            if "bucket" in str(error):
                bucket = path.split("/")[0]
                return f"create the bucket {bucket} or check AWS_ENDPOINT_URL ({endpoint})"
            return "check the URI"
        return f"check that the object store runs, and AWS_ENDPOINT_URL ({endpoint})"

    def _s3(self) -> Any:
        # A connection does not survive a fork. The parent's client is kept all the same: to
        # discard it would close connections in an event loop that does not run here.
        with self._lock:
            if os.getpid() not in self._clients:
                self._clients[os.getpid()] = _open_s3(tries=1, session=_open_session())
            return self._clients[os.getpid()]


@functools.cache
def _descriptions() -> Any:
    """What botocore knows of S3: megabytes of JSON, of which each client would read its own."""
    from botocore.loaders import create_loader

    return create_loader(os.environ.get("AWS_DATA_PATH"))


def _open_session() -> Any:
    from aiobotocore.session import AioSession

    session = AioSession()
    session.register_component("data_loader", _descriptions())
    return session


def _open_s3(*, tries: int, session: Any = None) -> Any:
    """Open a client for the endpoint and credentials that the environment names now.

    One that is to be sent to another process has no session given: none can be sent.
    """
    import s3fs

    filesystem = s3fs.S3FileSystem(
        session=session,
        # Cached listings would hide what other processes write, and a cached
        # client would keep the endpoint and credentials of its first use.
        use_listings_cache=False,
        skip_instance_cache=True,
        # botocore itself reads only AWS_DEFAULT_REGION.
        client_kwargs={"region_name": _region()},
        config_kwargs={"retries": {"total_max_attempts": tries, "mode": "standard"}},
    )
    filesystem.retries = tries
    return filesystem


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
