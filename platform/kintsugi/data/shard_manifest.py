"""What a folder of shards holds, and reading it with every byte checked; knows no Ray.

A shard is a Parquet file with `id` (the photograph's path), `image` (the
encoded bytes as they came), `height` and `width` (in pixels as displayed).
`manifest.json` is written last and vouches for each of them: a flipped bit in
a JPEG mostly decodes, to a wrong picture, so the decoder cannot. Each shard
belongs to one split: "train", or "held_out" for what no training order sees.
"""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.data.shards.part_lists import FOLDER as LISTS_FOLDER
from kintsugi.data.shards.part_lists import (
    Digests,
    PartInfo,
    PartLists,
    Reject,
    RejectList,
    Split,
    read_rows,
    write_lists,
)
from kintsugi.data.splits import HELD_OUT
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage

MANIFEST_NAME = "manifest.json"
# Version 1 knew no splits: all of it is for training. Version 2 lists its parts itself; one with
# more than so many is of version 3, whose parts stand in `kintsugi.data.shards.part_lists`.
FORMAT_VERSION = 2
LISTED_VERSION = 3
MOST_INLINE = 4096
_READABLE_VERSIONS = (1, FORMAT_VERSION, LISTED_VERSION)
_PART = re.compile(r"part-[0-9]{5,}\.parquet")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)
_log = logging.getLogger(__name__)


def _schema() -> dict[str, str]:
    return {column.name: str(column.type) for column in SCHEMA}


@dataclass(frozen=True)
class Manifest:
    """All shards of a folder, in order, and what was left out of them."""

    seed: int
    rows: int
    parts: Sequence[PartInfo]
    rejects: Sequence[Reject] = ()
    # Files of the input that have no photograph's extension.
    ignored: int = 0
    # Share of the photographs that is held out, by `kintsugi.data.splits.is_held_out`.
    held_out_share: float = 0.0
    version: int = FORMAT_VERSION
    created_by: str = "kintsugi write_shards"
    # Column names and types, for readers that are not this one.
    schema: dict[str, str] = field(default_factory=_schema)

    def __post_init__(self) -> None:
        found = int(rows_of(self.parts).sum(dtype=np.int64))
        if found != self.rows:
            raise ValueError(f"rows is {self.rows} and the parts have {found}")

    def only(self, split: Split) -> Sequence[PartInfo]:
        """The parts of one split, in order."""
        if isinstance(self.parts, PartLists):
            return self.parts.only(split)
        return tuple(part for part in self.parts if part.split == split)

    def to_dict(self) -> dict[str, Any]:
        """What to print: rows, how many are held out, parts, bytes, ignored files, rejects."""
        return {
            "rows": self.rows,
            "held_out": int(rows_of(self.only(HELD_OUT)).sum(dtype=np.int64)),
            "parts": len(self.parts),
            "bytes": sum(part.bytes for part in self.parts),
            "ignored": self.ignored,
            "rejects": dict(Counter(reject.reason for reject in self.rejects)),
        }

    def to_json(self) -> str:
        """Write as JSON with every part in it, readable by people; `from_json` reads it back."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, storage: Storage) -> "Manifest":
        """Read what `write_manifest` made.

        Args: ``storage``: the folder of the shards, where lists of parts lie.

        Raises:
            StorageError: Broken, or of a version that is not read here.
        """
        try:
            version = TypeAdapter(dict[str, Any]).validate_json(text).get("version")
            if version not in _READABLE_VERSIONS:
                raise StorageError(
                    f"the manifest has version {version!r} and this code reads 1 to"
                    f" {LISTED_VERSION}: pack the photographs again or use the code that wrote it"
                )
            if version == LISTED_VERSION:
                return TypeAdapter(_Listed).validate_json(text).manifest(storage)
            return cls(**vars(TypeAdapter(_Inline).validate_json(text)))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise StorageError(f"the manifest is broken at {where}: {first['msg']}") from error


@dataclass(frozen=True)
class _Inline(Manifest):
    """The file of versions 1 and 2, whose parts are in it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    parts: tuple[PartInfo, ...]
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True)
class _Listed:
    """The file of version 3, with the SHA-256 of those in which its parts are.

    Attributes:
        train_parts, held_out_parts: How many; those of training come first.
        num_rejects: In their file.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    seed: int
    rows: int
    train_parts: int
    held_out_parts: int
    num_rejects: int
    digests: Digests
    ignored: int = 0
    held_out_share: float = 0.0
    version: int = LISTED_VERSION
    created_by: str = "kintsugi write_shards"
    schema: dict[str, str] = field(default_factory=_schema)

    def manifest(self, storage: Storage) -> Manifest:
        """What the file and those it names say. Raises: StorageError: one is not as named."""
        rows = read_rows(storage, self.digests.rows)
        if len(rows) != self.train_parts + self.held_out_parts:
            raise StorageError(f"the manifest is broken: it has the rows of {len(rows)} parts")
        return Manifest(
            seed=self.seed,
            rows=self.rows,
            parts=PartLists(storage, rows, self.digests.lists, train=self.train_parts),
            rejects=RejectList(storage, self.digests.rejects, self.num_rejects),
            ignored=self.ignored,
            held_out_share=self.held_out_share,
            version=self.version,
            created_by=self.created_by,
            schema=self.schema,
        )


def rows_of(parts: Sequence[PartInfo]) -> NDArray[np.int32]:
    """Rows of each part."""
    if isinstance(parts, PartLists):
        return parts.rows
    return np.array([part.rows for part in parts], dtype=np.int32)


def describe_parts(manifest: Manifest, storage: Storage) -> bytes:
    """What to write as `manifest.json`, last of all; lists of many parts are written here.

    Args:
        manifest: With all parts at hand, those of training first.
        storage: The folder of the shards.
    """
    if len(manifest.parts) <= MOST_INLINE:
        storage.delete_folder(LISTS_FOLDER)
        return manifest.to_json().encode()
    held_out = len(manifest.only(HELD_OUT))
    listed = _Listed(
        seed=manifest.seed,
        rows=manifest.rows,
        train_parts=len(manifest.parts) - held_out,
        held_out_parts=held_out,
        num_rejects=len(manifest.rejects),
        digests=write_lists(storage, manifest.parts, manifest.rejects),
        ignored=manifest.ignored,
        held_out_share=manifest.held_out_share,
        created_by=manifest.created_by,
        schema=manifest.schema,
    )
    return (json.dumps(asdict(listed), indent=1) + "\n").encode()


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest of a folder of shards.

    Raises:
        StorageError: Nothing was packed there, or the manifest cannot be used.
    """
    if not storage.exists(MANIFEST_NAME):
        raise StorageError(
            f"no shards at {storage.uri} (no {MANIFEST_NAME}): pack them first:"
            f" kintsugi shards --input PHOTOS --output {storage.uri}"
        )
    try:
        return Manifest.from_json(storage.read(MANIFEST_NAME), storage)
    except StorageError as error:
        raise StorageError(f"{storage.uri}: {error}") from error


def read_part(storage: Storage, part: PartInfo) -> pa.Table:
    """Read a shard whole, as a table of SCHEMA. Raises: as `read_part_bytes`."""
    data = read_part_bytes(storage, part)
    try:
        return pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise StorageError(
            f"{storage.uri}/{part.name} is no Parquet file, though it is what the manifest names:"
            " pack the photographs again"
        ) from error


def read_part_bytes(storage: Storage, part: PartInfo) -> bytes:
    """Read a shard's file whole, after comparing it with the manifest.

    One that differs is read once more: bits flip on the way, too.

    Raises:
        StorageError: Missing; or twice its size or SHA-256 is not what the manifest says.
    """
    data = storage.read(part.name)
    where = f"{storage.uri}/{part.name}"
    difference = _difference(data, part)
    if difference:
        _log.warning("%s %s: reading it once more", where, difference)
        data = storage.read(part.name)
        difference = _difference(data, part)
    if difference:
        raise StorageError(
            f"{where} {difference}, read twice: pack the photographs again or restore the file"
        )
    return data


def _difference(data: bytes, part: PartInfo) -> str:
    """What of a shard's bytes is not as the manifest says; "" when nothing is."""
    if len(data) != part.bytes:
        return f"has {len(data)} bytes, expected {part.bytes}"
    found = hashlib.sha256(data).hexdigest()
    return "" if found == part.sha256 else f"has SHA-256 {found}, expected {part.sha256}"


def is_part(name: str) -> bool:
    """True for a file name that `part_name` gives; other programs' parts have others."""
    return _PART.fullmatch(name) is not None


def part_name(index: int) -> str:
    """The file name of a shard."""
    return f"part-{index:05d}.parquet"
