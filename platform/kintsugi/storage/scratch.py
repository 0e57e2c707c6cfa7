"""Temporary folders of this machine, and what is said when its disk is full."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from kintsugi.errors import StorageError
from kintsugi.storage.backends import NO_ROOM, room_at


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A temporary folder that is gone after the block.

    Args:
        purpose: What is written there, for the message, such as "a checkpoint".

    Raises:
        StorageError: The disk is full; names the folder and what to do.
    """
    with tempfile.TemporaryDirectory(prefix="kintsugi-") as name, _full_disk_named(name, purpose):
        yield Path(name)


def write_scratch(purpose: str, write: Callable[[Path], None]) -> Path:
    """A temporary folder that the caller deletes, with what ``write`` writes into it.

    Raises: StorageError as `scratch_folder`; then nothing is left.
    """
    name = tempfile.mkdtemp(prefix="kintsugi-")
    try:
        with _full_disk_named(name, purpose):
            write(Path(name))
    except BaseException:
        shutil.rmtree(name, ignore_errors=True)
        raise
    return Path(name)


@contextmanager
def _full_disk_named(name: str, purpose: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not _is_full(error):
            raise
        raise StorageError(
            f"cannot write {purpose} to {name}: {room_at(Path(name))}; free some, or set TMPDIR"
            " to a folder on a larger disk"
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    # safetensors gives the cause only in words.
    return f"(os error {errno.ENOSPC})" in str(error)
