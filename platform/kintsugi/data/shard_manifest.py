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
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage

MANIFEST_NAME = "manifest.json"
# Version 1 knew no splits: all of it is for training.
FORMAT_VERSION = 2
_READABLE_VERSIONS = (1, 2)
_PART = re.compile(r"part-[0-9]{5,}\.parquet")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)
Split = Literal["train", "held_out"]
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
class Manifest:
    """All shards of a folder, in order, and what was left out of them."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    seed: int
    rows: int
    parts: tuple[PartInfo, ...]
    rejects: tuple[Reject, ...] = ()
    # Files of the input that have no photograph's extension.
    ignored: int = 0
    # Share of the photographs that is held out, by `kintsugi.data.splits.is_held_out`.
    held_out_share: float = 0.0
    version: int = FORMAT_VERSION
    created_by: str = "kintsugi write_shards"
    # Column names and types, for readers that are not this one.
    schema: dict[str, str] = field(
        default_factory=lambda: {column.name: str(column.type) for column in SCHEMA}
    )

    def __post_init__(self) -> None:
        found = sum(part.rows for part in self.parts)
        if found != self.rows:
            raise ValueError(f"rows is {self.rows} and the parts have {found}")

    def only(self, split: Split) -> tuple[PartInfo, ...]:
        """The parts of one split, in order."""
        return tuple(part for part in self.parts if part.split == split)

    def to_dict(self) -> dict[str, Any]:
        """What to print: rows, how many are held out, parts, bytes, ignored files, rejects."""
        return {
            "rows": self.rows,
            "held_out": sum(part.rows for part in self.only(HELD_OUT)),
            "parts": len(self.parts),
            "bytes": sum(part.bytes for part in self.parts),
            "ignored": self.ignored,
            "rejects": dict(Counter(reject.reason for reject in self.rejects)),
        }

    def to_json(self) -> str:
        """Write as JSON, readable by people; `from_json` reads it back."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Read what `to_json` wrote.

        Raises:
            StorageError: Broken, or of a version that is not read here.
        """
        try:
            version = TypeAdapter(dict[str, Any]).validate_json(text).get("version")
            if version not in _READABLE_VERSIONS:
                raise StorageError(
                    f"the manifest has version {version!r} and this code reads 1 to"
                    f" {FORMAT_VERSION}: pack the photographs again or use the code that wrote it"
                )
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise StorageError(f"the manifest is broken at {where}: {first['msg']}") from error


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
        return Manifest.from_json(storage.read(MANIFEST_NAME))
    except StorageError as error:
        raise StorageError(f"{storage.uri}: {error}") from error


def read_part(storage: Storage, part: PartInfo) -> pa.Table:
    """Read a shard whole, as a table of SCHEMA, after comparing it with the manifest.

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
    try:
        return pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise StorageError(
            f"{where} is no Parquet file, though it is what the manifest names: pack the"
            " photographs again"
        ) from error


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
