"""Masks in Parquet files: their columns, their files, and what vouches for them; draws nothing.

A row has `id` (a photograph's, a picture's name or a number), `mask` (PNG, white is hole),
`hole_share`, `height` and `width`. The manifest of a set is of masks that are drawn by its name.
No Ray and no PyTorch: data tasks import it.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.data.shard_manifest import MANIFEST_NAME, read_part
from kintsugi.data.shards.part_lists import PartInfo
from kintsugi.errors import StorageError
from kintsugi.masks.generators import Mask, hole_share
from kintsugi.masks.sets import MaskSet
from kintsugi.storage.storage import Storage

FORMAT_VERSION = 1
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("mask", pa.binary(), nullable=False),
        pa.field("hole_share", pa.float64(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class MaskPart:
    """One shard: its file, and what must be found in it."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class MaskManifest:
    """A written mask set.

    Attributes:
        set: Name, kind, side and seed: the masks can be drawn again from them.
        numbered: The ids are numbers and no photographs'.
        masks_sha256: `mask_digest` of all masks in order.
        hole_share: ``mean``, ``least`` and ``most``, 0-1.
        hole_bins: Masks in each of HOLE_BINS equal bins of hole share.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    set: MaskSet
    rows: int
    numbered: bool
    masks_sha256: str
    hole_share: dict[str, float]
    hole_bins: tuple[int, ...]
    parts: tuple[MaskPart, ...]
    version: int = FORMAT_VERSION
    created_by: str = "kintsugi write_masks"
    schema: dict[str, str] = field(
        default_factory=lambda: {column.name: str(column.type) for column in SCHEMA}
    )

    def to_dict(self) -> dict[str, Any]:
        """What to print."""
        return {"rows": self.rows, "masks_sha256": self.masks_sha256, **self.hole_share}


def read_mask_manifest(storage: Storage) -> MaskManifest:
    """Read a written set's manifest. Raises: StorageError when there is none, or a broken one."""
    if not storage.exists(MANIFEST_NAME):
        raise StorageError(
            f"no mask set at {storage.uri} (no {MANIFEST_NAME}): name the folder of one set that"
            " kintsugi masks wrote"
        )
    try:
        manifest = TypeAdapter(MaskManifest).validate_json(storage.read(MANIFEST_NAME))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StorageError(
            f"{storage.uri}/{MANIFEST_NAME} is no mask set's: {where}: {first['msg']}"
        ) from error
    if manifest.version != FORMAT_VERSION:
        raise StorageError(
            f"{storage.uri} has format version {manifest.version} and this code reads"
            f" {FORMAT_VERSION}: write the set again or use the code that wrote it"
        )
    return manifest


def encode(mask: Mask) -> bytes:
    """A mask as a PNG of one bit a pixel, white is hole."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def decode(data: bytes) -> Mask:
    """What `encode` wrote."""
    with Image.open(io.BytesIO(data)) as image:
        # Not as an array of bits: Pillow's have 255 in the place of 1.
        return np.asarray(image.convert("L")) >= 128


def mask_row(mask_id: str, mask: Mask) -> dict[str, object]:
    """A mask as a row of SCHEMA."""
    height, width = mask.shape
    return {
        "id": mask_id,
        "mask": encode(mask),
        "hole_share": hole_share(mask),
        "height": height,
        "width": width,
    }


def write_mask_part(table: pa.Table, name: str, target: Storage) -> MaskPart:
    """Write rows of SCHEMA as one shard. Returns: what must be found in it."""
    buffer = pa.BufferOutputStream()
    # PNG is compressed already.
    pq.write_table(table, buffer, compression="none", use_dictionary=False)
    data = buffer.getvalue().to_pybytes()
    target.write(name, data)
    return MaskPart(name, len(table), len(data), hashlib.sha256(data).hexdigest())


def read_masks(storage: Storage, parts: Sequence[MaskPart]) -> Iterator[tuple[str, bytes]]:
    """Ids and PNGs of shards, part by part. Raises: StorageError: one is missing or altered."""
    for part in parts:
        table = read_part(storage, PartInfo(part.name, part.rows, part.bytes, part.sha256))
        yield from masks_in(table)


def masks_in(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    """Ids and PNGs of a shard's table."""
    return zip(table["id"].to_pylist(), table["mask"].to_pylist(), strict=True)
