"""The parts of a data set too large to be listed in one file; knows no photographs and no Ray.

`_manifest/rows.parquet` has the rows of every part, which is all that an order of photographs is
made of. What must be found in a part stands in lists of `PER_LIST` parts: a task reads the few
that it needs. `manifest.json` names the SHA-256 of each of these files, so it vouches for all of
them. Folders with `_` in front are no data to what reads Parquet folders.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kintsugi.data.splits import TRAIN
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage

Split = Literal["train", "held_out"]
FOLDER = "_manifest"
PER_LIST = 1024
_ROWS_NAME, _REJECTS_NAME = f"{FOLDER}/rows.parquet", f"{FOLDER}/rejects.parquet"
# Lists that a process keeps, each some 50 kB.
_LISTS_KEPT = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartInfo:
    """One shard: its file, what must be found in it, and the split that it belongs to."""

    name: str
    rows: int
    bytes: int
    sha256: str
    split: Split = TRAIN


@dataclass(frozen=True)
class Reject:
    """A photograph that was not packed: a stable reason and a sentence."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class PartEntry:
    """Where a part is described: its list, what that must be, and the place in it."""

    list_name: str
    sha256: str
    place: int

    def find(self, storage: Storage) -> PartInfo:
        """The description. Raises: StorageError: the list is missing or altered."""
        return _info(_read_list(storage.uri, self.list_name, self.sha256), self.place)


class PartLists(Sequence[PartInfo]):
    """Parts as a sequence whose elements are read when they are asked for.

    Attributes:
        rows: The rows of each part; int32.
    """

    def __init__(
        self,
        storage: Storage,
        rows: NDArray[np.int32],
        digests: Sequence[str],
        *,
        train: int,
        first: int = 0,
    ) -> None:
        """
        Args:
            storage: The folder of the shards.
            rows: As above.
            digests: SHA-256 of each list of the whole data set.
            train: How many parts of the whole data set, from its first on, are for training.
            first: Number of the first of these parts among all.
        """
        self.rows = rows
        self._storage = storage
        self._digests = digests
        self._train = train
        self._first = first

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, split: Split) -> "PartLists":
        """The parts of a split among all parts; nothing is read."""
        start, stop = (0, self._train) if split == TRAIN else (self._train, len(self.rows))
        rows = self.rows[start:stop]
        return PartLists(self._storage, rows, self._digests, train=self._train, first=start)

    def place(self, index: int) -> PartEntry:
        """Where the part of this number is described; nothing is read."""
        number, place = divmod(self._first + index, PER_LIST)
        return PartEntry(_list_name(number), self._digests[number], place)

    @overload
    def __getitem__(self, index: int) -> PartInfo: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[PartInfo, ...]: ...

    def __getitem__(self, index: int | slice) -> PartInfo | tuple[PartInfo, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(len(self))[index])
        return self.place(range(len(self))[index]).find(self._storage)


class RejectList(Sequence[Reject]):
    """Rejects as a sequence that is read when it is looked into."""

    def __init__(self, storage: Storage, sha256: str, count: int) -> None:
        self._storage = storage
        self._sha256 = sha256
        self._count = count

    @cached_property
    def _all(self) -> tuple[Reject, ...]:
        table = _parse(_read(self._storage, _REJECTS_NAME, self._sha256))
        return tuple(Reject(**row) for row in table.to_pylist())

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Reject: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Reject, ...]: ...

    def __getitem__(self, index: int | slice) -> Reject | tuple[Reject, ...]:
        return self._all[index]


@dataclass(frozen=True)
class Digests:
    """SHA-256 of the files that describe parts: what `manifest.json` vouches by."""

    rows: str
    rejects: str
    lists: tuple[str, ...]


def write_lists(storage: Storage, parts: Sequence[PartInfo], rejects: Sequence[Reject]) -> Digests:
    """Write what describes these parts. Raises: StorageError: it cannot be written."""
    lists = []
    for number, start in enumerate(range(0, len(parts), PER_LIST)):
        chosen = parts[start : start + PER_LIST]
        table = {
            "name": [part.name for part in chosen],
            "rows": pa.array([part.rows for part in chosen], pa.int32()),
            "bytes": pa.array([part.bytes for part in chosen], pa.int64()),
            "sha256": [part.sha256 for part in chosen],
            "split": [part.split for part in chosen],
        }
        lists.append(_write(storage, _list_name(number), pa.table(table)))
    counts = pa.table({"rows": pa.array([part.rows for part in parts], pa.int32())})
    text = pa.string()
    left_out = pa.table({name: pa.array([getattr(reject, name) for reject in rejects], text)
                         for name in ("id", "reason", "detail")})  # fmt: skip
    return Digests(
        rows=_write(storage, _ROWS_NAME, counts),
        rejects=_write(storage, _REJECTS_NAME, left_out),
        lists=tuple(lists),
    )


def read_rows(storage: Storage, sha256: str) -> NDArray[np.int32]:
    """The rows of every part. Raises: StorageError: missing, or not what it was."""
    chunks = _parse(_read(storage, _ROWS_NAME, sha256))["rows"].chunks
    # By DLPack: each other way imports pandas, which is 40 MiB in each process.
    return np.concatenate([np.from_dlpack(chunk) for chunk in chunks]).astype(np.int32, copy=False)


def _list_name(number: int) -> str:
    return f"{FOLDER}/list-{number:05d}.parquet"


@lru_cache(maxsize=_LISTS_KEPT)
def _read_list(uri: str, name: str, sha256: str) -> pa.Table:
    return _parse(_read(Storage(uri), name, sha256))


def _info(table: pa.Table, place: int) -> PartInfo:
    (row,) = table.slice(place, 1).to_pylist()
    return PartInfo(**row)


def _write(storage: Storage, name: str, table: pa.Table) -> str:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    storage.write(name, data)
    return hashlib.sha256(data).hexdigest()


def _read(storage: Storage, name: str, sha256: str) -> bytes:
    """A file, read once more if it differs: bits flip on the way, too."""
    for _ in range(2):
        data = storage.read(name)
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        _log.warning("%s/%s is not what the manifest names", storage.uri, name)
    raise StorageError(
        f"{storage.uri}/{name} is not what the manifest names, read twice: restore the file, or"
        " pack the photographs again"
    )


def _parse(data: bytes) -> pa.Table:
    # `read_table` imports what reads whole data sets: 50 MiB in each process.
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
