"""Places that `kintsugi.storage.storage` reads and writes: local folders and S3 buckets.

Plain operations without retries; each backend says which of its errors may
pass by themselves and what a user can do about the others.
"""

import errno
import hashlib
import logging
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from kintsugi.storage.s3 import LONGEST_SECONDS, STALL_SECONDS, open_s3, open_session, write_object
from kintsugi.storage.s3_errors import read_answer

_PARTIAL_SUFFIX = ".partial"
# Of what is half written here; downloads of other programs end so, too.
_PARTIAL_NAME = re.compile(r"\.[0-9a-f]{16}\.\d+-\d+\.partial")
# Files of a local folder that are listed at one time.
_PAGE_FILES = 10_000
# A write that has not ended after so long was killed.
_ABANDONED_SECONDS = 3600.0
# What says one of these will say it again.
_LASTING_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)
_LASTING_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENOSYS,
}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
# What reading may wait for without end.
_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


# Makes one request of several, with what a place's requests are repeated by.
Ask = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True)
class Survey:
    """What a listing found, or a page of one.

    Attributes:
        sizes: Bytes of each file by its name.
        unreadable: Folders that could not be listed, and why.
        special: What is neither file nor folder, and what it is: reading it may never end.
    """

    sizes: dict[str, int]
    unreadable: dict[str, str]
    special: dict[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """What `Storage` needs of a place; `path` is a full path inside it."""

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises: FileNotFoundError, or what the place raises."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole: a reader sees all of it, or what was there before."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file, or a folder with anything in it."""

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """So many bytes of a file from one on; fewer where it ends. Raises: as `read`."""

    def size(self, path: str) -> int:
        """Bytes of a file. Raises: as `read`."""

    def pages(self, path: str, ask: Ask) -> Iterator[Survey]:
        """What is under the folder, by names relative to it, a bounded number at a time."""

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""

    def delete_folder(self, path: str) -> None:
        """Delete a folder and all in it; one that is not there is no error."""

    def sweep(self, path: str) -> None:
        """Delete what writers that were killed left under the folder."""

    def arrow_filesystem(self) -> Any:
        """The place as a filesystem of PyArrow."""

    def is_storage_error(self, error: Exception) -> bool:
        """Whether the place failed, and not this program."""

    def is_transient(self, error: Exception) -> bool:
        """Whether the same call may succeed later."""

    def remedy(self, error: Exception, path: str) -> str:
        """What a user can do about it, in words that finish a message."""


class LocalFolders:
    """Files of this machine, or of a network file system mounted on it."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Unique to process and thread: two writers of one name must not share it. Of the name only
        # a digest: with all of it, names of 255 bytes would have none that is short enough.
        digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
        unique = f"{os.getpid()}-{threading.get_ident()}"
        partial = target.with_name(f".{digest}.{unique}{_PARTIAL_SUFFIX}")
        there = _file_to_replace(target)
        try:
            with partial.open("wb") as file:
                if there is not None:
                    _take_over(file.fileno(), there)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def read_range(self, path: str, start: int, length: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(length)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def pages(self, path: str, ask: Ask) -> Iterator[Survey]:
        """What a folder holds needs no request, and none is repeated."""
        root = Path(path)
        # Folders behind links are folders; each is visited once, since links can go in circles.
        waiting, visited = [root], set[tuple[int, int]]()
        while waiting:
            folder = waiting.pop()
            try:
                about = folder.stat()
                if (about.st_dev, about.st_ino) in visited:
                    continue
                visited.add((about.st_dev, about.st_ino))
                with os.scandir(folder) as entries:
                    while some := list(islice(entries, _PAGE_FILES)):
                        waiting += [Path(entry.path) for entry in some if _is_folder(entry)]
                        yield _survey_of(some, root)
            except (FileNotFoundError, NotADirectoryError):
                # Not there, or not any more: an empty one.
                continue
            except OSError as error:
                name = "" if folder == root else folder.relative_to(root).as_posix()
                yield Survey({}, {name: error.strerror or str(error)})

    def delete(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def delete_folder(self, path: str) -> None:
        while Path(path).exists():
            # Somebody else may be deleting it, too.
            with suppress(FileNotFoundError):
                shutil.rmtree(path)

    def sweep(self, path: str) -> None:
        old = time.time() - _ABANDONED_SECONDS
        files = (Path(at, name) for at, _, names in os.walk(path) for name in names)
        for file in files:
            if not _PARTIAL_NAME.fullmatch(file.name):
                continue
            # Its writer, or somebody else who sweeps, may be quicker; another's is for them.
            with suppress(FileNotFoundError, PermissionError):
                if file.stat().st_mtime < old:
                    file.unlink()

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
        if isinstance(error, _NotAFile):
            return "name a file, or a path at which nothing is"
        if isinstance(error, FileNotFoundError):
            return "check the path"
        if isinstance(error, PermissionError):
            return "check who may read and write there"
        if isinstance(error, (NotADirectoryError, FileExistsError, IsADirectoryError)):
            return "a file stands where a folder must be, or a folder where a file: move it away"
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return "the name is longer than the file system takes (255 bytes): shorten it"
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return f"{room_at(Path(path).parent)}; free some, or name a folder on a larger disk"
        return "check the disk"


class Buckets:
    """S3 buckets; endpoint and credentials come from AWS_* as for any S3 client."""

    def __init__(self) -> None:
        # Where INFO is shown, they would say for every client where its credentials are from.
        for name in ("aiobotocore", "botocore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._lock = threading.Lock()
        # By process, and whether for writing.
        self._clients: dict[tuple[int, bool], Any] = {}

    def read(self, path: str) -> bytes:
        # In one stream: in several, s3fs asks for the size first, and of a HEAD the store cannot
        # say what is wrong.
        data: bytes = self._s3().cat_file(path, max_concurrency=1)
        return data

    def write(self, path: str, data: bytes) -> None:
        # One PUT or one completed multipart upload: either appears whole or not at all.
        write_object(self._s3(writing=True), path, data)

    def exists(self, path: str) -> bool:
        return bool(self._s3().exists(path))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        data: bytes = self._s3().cat_file(path, start=start, end=start + length, max_concurrency=1)
        return data

    def size(self, path: str) -> int:
        return int(self._s3().info(path)["size"])

    def pages(self, path: str, ask: Ask) -> Iterator[Survey]:
        bucket, _, prefix = path.partition("/")
        start = f"{prefix}/" if prefix else ""
        more: dict[str, str] = {}
        while True:
            answer = ask(partial(self._page, bucket, start, more))
            names = {each["Key"][len(start) :]: each["Size"] for each in answer.get("Contents", ())}
            yield Survey(only_files(names), {})
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _page(self, bucket: str, start: str, more: dict[str, str]) -> Any:
        return self._s3().call_s3("list_objects_v2", Bucket=bucket, Prefix=start, **more)

    def delete(self, path: str) -> None:
        self._s3().rm_file(path)

    def delete_folder(self, path: str) -> None:
        for page in self.pages(path, lambda request: request()):
            if page.sizes:
                self._s3().rm([f"{path}/{name}" for name in page.sizes])

    def sweep(self, path: str) -> None:
        """Nothing: a cut upload is no object, and its parts are for the bucket's lifecycle rule."""

    def arrow_filesystem(self) -> Any:
        from pyarrow import fs

        # Arrow calls it past the retries of `Storage`, so this client keeps its own: the
        # pauses of twenty tries sum up to about three minutes.
        return fs.PyFileSystem(fs.FSSpecHandler(open_s3(tries=20, silence=60.0)))

    def is_storage_error(self, error: Exception) -> bool:
        from aiohttp import ClientError as ConnectionLost
        from botocore.exceptions import BotoCoreError

        return isinstance(error, (OSError, BotoCoreError, ConnectionLost))

    def is_transient(self, error: Exception) -> bool:
        from botocore.exceptions import BotoCoreError, HTTPClientError
        from botocore.exceptions import ConnectionError as Unreachable
        from botocore.parsers import ResponseParserError

        answer = read_answer(error, "")
        if answer is not None:
            return answer.may_pass
        if isinstance(error, (Unreachable, HTTPClientError, ResponseParserError)):
            return True
        if isinstance(error, (*_LASTING_ERRORS, BotoCoreError)):
            return False
        lasting = isinstance(error, OSError) and error.errno in _LASTING_ERRNOS
        return self.is_storage_error(error) and not lasting

    def remedy(self, error: Exception, path: str) -> str:
        from botocore.exceptions import NoCredentialsError

        endpoint = os.environ.get("AWS_ENDPOINT_URL", "not set: Amazon's own")
        answer = read_answer(error, path.split("/")[0])
        if answer is not None:
            return f"{answer.remedy} ({answer.code})"
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

    def _s3(self, *, writing: bool = False) -> Any:
        # A connection does not survive a fork. The parent's client is kept all the same: to
        # discard it would close connections in an event loop that does not run here.
        key = os.getpid(), writing
        with self._lock:
            if key not in self._clients:
                # How long a write may be silent depends on its size: `write_object` sees to it.
                silence = LONGEST_SECONDS if writing else STALL_SECONDS
                self._clients[key] = open_s3(tries=1, silence=silence, session=open_session())
            return self._clients[key]


class _NotAFile(OSError):
    """What stands at a path is a pipe, a socket or a device: to replace it would break it."""


def check_file(path: Path) -> None:
    """Raises: OSError: what stands at the path, or behind a link there, can be no output."""
    _file_to_replace(path)


def _file_to_replace(path: Path) -> os.stat_result | None:
    """What a write would replace; None where nothing is."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    if what := _SPECIAL.get(stat.S_IFMT(about.st_mode)):
        raise _NotAFile(errno.EINVAL, f"it is {what}, and no file")
    return about


def _take_over(file: int, there: os.stat_result) -> None:
    """Who may read the open file, and whose it is, become those of the one that it replaces."""
    made = os.fstat(file)
    if (made.st_uid, made.st_gid) != (there.st_uid, there.st_gid):
        # Only root may give files away: another's file that one may replace becomes one's own.
        with suppress(PermissionError):
            os.fchown(file, there.st_uid, there.st_gid)
    os.fchmod(file, stat.S_IMODE(there.st_mode))


def only_files(names: dict[str, int]) -> dict[str, int]:
    """Without the empty objects whose names end with a slash, by which tools mark folders."""
    return {name: int(size) for name, size in names.items() if name and not name.endswith("/")}


def room_at(folder: Path) -> str:
    """Words for how much room is left on the disk of a folder that may not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    return (
        f"{usage.free / 2**20:.1f} of {usage.total / 2**20:.0f} MiB are free on the disk of {there}"
    )


def _survey_of(entries: list[os.DirEntry[str]], root: Path) -> Survey:
    """What of them is no folder, by names relative to ``root``."""
    found = Survey({}, {})
    for entry in entries:
        if _is_folder(entry) or _PARTIAL_NAME.fullmatch(entry.name):
            continue
        name, about = Path(entry.path).relative_to(root).as_posix(), _file_of(entry)
        if isinstance(about, int):
            found.sizes[name] = about
        elif about:
            found.special[name] = about
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to nowhere that may be read; it is listed as a file, and reading it says why.
        return False


def _file_of(entry: os.DirEntry[str]) -> int | str:
    """Bytes of a file, 0 of a link to nothing; else what it is, "" where there is nothing now."""
    try:
        about = entry.stat()
    except FileNotFoundError:
        return 0 if entry.is_symlink() else ""
    except OSError:
        # There, but not to be looked at: reading it says why.
        return 0
    if stat.S_ISREG(about.st_mode):
        return about.st_size
    return _SPECIAL.get(stat.S_IFMT(about.st_mode), "")
