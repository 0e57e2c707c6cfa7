"""What a folder of shards holds, and reading it with every byte checked; knows no Ray.

A shard is a Parquet file with `id` (the photograph's path), `image` (the
encoded bytes as they came), `height` and `width` (in pixels as displayed).
`manifest.json` is written last and vouches for each of them: a flipped bit in
a JPEG mostly decodes, to a wrong picture, so the decoder cannot.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.errors import StorageError
from kintsugi.storage import Storage

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
_PART = re.compile(r"part-[0-9]{5,}\.parquet")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class PartInfo:
    """One shard: its file, and what must be found in it."""

    name: str
    rows: int
    bytes: int
    sha256: str


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

    def figures(self) -> dict[str, Any]:
        """What to print: rows, parts, bytes, ignored files, rejects by reason."""
        return {
            "rows": self.rows,
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
            if version != FORMAT_VERSION:
                raise StorageError(
                    f"the manifest has version {version!r} and this code reads {FORMAT_VERSION}:"
                    " pack the photographs again or use the code that wrote it"
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
            f" jobs/write_shards.py --input PHOTOS --output {storage.uri}"
        )
    try:
        return Manifest.from_json(storage.read(MANIFEST_NAME))
    except StorageError as error:
        raise StorageError(f"{storage.uri}: {error}") from error


def read_part(storage: Storage, part: PartInfo) -> pa.Table:
    """Read a shard whole, as a table of SCHEMA, after comparing it with the manifest.

    Raises:
        StorageError: Missing, or its size or SHA-256 is not what the manifest says.
    """
    data = storage.read(part.name)
    where = f"{storage.uri}/{part.name}"
    remedy = "pack the photographs again or restore the file"
    if len(data) != part.bytes:
        raise StorageError(f"{where} has {len(data)} bytes, expected {part.bytes}: {remedy}")
    found = hashlib.sha256(data).hexdigest()
    if found != part.sha256:
        raise StorageError(f"{where} has SHA-256 {found}, expected {part.sha256}: {remedy}")
    return pq.read_table(pa.BufferReader(data))


def verify_shards(uri: str) -> list[str]:
    """Read every shard of a folder and list what is wrong, one sentence each."""
    storage = Storage(uri)
    try:
        manifest = read_manifest(storage)
    except StorageError as error:
        return [str(error)]
    problems, seen = [], set[str]()
    for part in manifest.parts:
        try:
            table = read_part(storage, part)
        except StorageError as error:
            problems.append(str(error))
            continue
        problems += [f"{part.name}: {problem}" for problem in _problems(table, part, seen)]
    known = {part.name for part in manifest.parts}
    strays = [name for name in storage.list() if is_part(name) and name not in known]
    return problems + [f"{name}: not in the manifest" for name in strays]


def is_part(name: str) -> bool:
    """True for a file name that `part_name` gives; other programs' parts have others."""
    return _PART.fullmatch(name) is not None


def part_name(index: int) -> str:
    """The file name of a shard."""
    return f"part-{index:05d}.parquet"


def _problems(table: pa.Table, part: PartInfo, seen: set[str]) -> list[str]:
    problems = []
    if table.schema != SCHEMA:
        problems.append(f"has the columns {table.schema.names}, expected {SCHEMA.names}")
        return problems
    if len(table) != part.rows:
        problems.append(f"has {len(table)} rows, expected {part.rows}")
    ids = table["id"].to_pylist()
    doubled = sorted({name for name in ids if name in seen or ids.count(name) > 1})
    seen.update(ids)
    return problems + [f"{name} is packed twice" for name in doubled]
