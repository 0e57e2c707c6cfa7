"""A file in storage as Python's and Arrow's readers take one: it is read where they look."""

import io
from typing import Any

from kintsugi.storage.storage import Storage

# Read at one time: what is looked at one after the other costs few requests.
_WINDOW_BYTES = 4 * 2**20


class RangeFile(io.RawIOBase):
    """A file that is read by ranges, some megabytes at a time; no more than that is held."""

    def __init__(self, storage: Storage, name: str, size: int) -> None:
        """
        Args:
            storage: Where the file lies.
            name: Its name there.
            size: Its bytes, as the listing said.
        """
        self._storage = storage
        self._name = name
        self._size = size
        self._at = 0
        self._window = b""
        self._window_start = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes; fewer at the end of the file alone. Raises: StorageError."""
        left = max(0, self._size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        if size > _WINDOW_BYTES:
            data = self._storage.read_range(self._name, self._at, size)
        else:
            first = self._at - self._window_start
            if first < 0 or first + size > len(self._window):
                self._window_start, first = self._at, 0
                length = min(_WINDOW_BYTES, left)
                self._window = self._storage.read_range(self._name, self._at, length)
            data = self._window[first : first + size]
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
