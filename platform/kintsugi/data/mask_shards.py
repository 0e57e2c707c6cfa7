"""Mask sets as Parquet shards with a manifest: written, read back, verified; draws nothing itself.

A shard has `id` (a photograph's, or a number), `mask` (PNG, white is hole), `hole_share`,
`height` and `width`. The manifest's `masks_sha256` is of the masks themselves, so it is the
same with every version of the libraries that write the files. `kintsugi evaluate` takes the
folder of a set in the place of its name.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.data.shard_manifest import MANIFEST_NAME, part_name, read_part
from kintsugi.data.shard_reader import sample_key
from kintsugi.data.shards.part_lists import PartInfo
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.masks.generators import Mask, hole_share
from kintsugi.masks.sets import HOLE_BINS, MaskSet, hole_bin, mask_digest, numbered_ids
from kintsugi.storage.parallel import map_tasks
from kintsugi.storage.storage import Storage

FORMAT_VERSION = 1
# About 2 kB a mask: parts of some megabytes.
ROWS_PER_PART = 1024
_SCHEMA = pa.schema(
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
        default_factory=lambda: {column.name: str(column.type) for column in _SCHEMA}
    )

    def to_dict(self) -> dict[str, Any]:
        """What to print."""
        return {"rows": self.rows, "masks_sha256": self.masks_sha256, **self.hole_share}


@dataclass(frozen=True)
class StoredMasks:
    """A written set, as an evaluation asks it for holes."""

    set: MaskSet
    numbered: bool
    masks: dict[str, bytes]
    uri: str
    masks_sha256: str

    @property
    def name(self) -> str:
        """Of the mask set."""
        return self.set.name

    @property
    def side_px(self) -> int:
        """Side of every mask, in pixels."""
        return self.set.side_px

    def about(self) -> dict[str, Any]:
        """What the set was drawn from, where it is, and the digest of its masks."""
        return {**self.set.about(), "uri": self.uri, "masks_sha256": self.masks_sha256}

    def mask_of(self, photo_id: str) -> Mask:
        """The photograph's own mask; of a numbered set the one that its id falls on.

        Raises: InvalidInput when the set was written for other photographs.
        """
        mask_id = photo_id
        if self.numbered:
            ids = list(self.masks)
            mask_id = ids[sample_key(photo_id) % len(ids)]
        if mask_id not in self.masks:
            raise InvalidInput(
                f"the written mask set {self.name} has no mask for {photo_id}: write it for these"
                " photographs (kintsugi masks --photos)",
                code="mask_missing",
            )
        return decode(self.masks[mask_id])


def write_mask_set(
    mask_set: MaskSet,
    ids: Sequence[str],
    target: Storage,
    *,
    overwrite: bool = False,
) -> MaskManifest:
    """Draw a set's masks and write them, in Ray tasks where Ray is initialised.

    Args:
        mask_set: What is drawn.
        ids: The ids of the masks, in the order of the rows: photographs', or `numbered_ids`.
        target: Folder of the set.
        overwrite: Replace a set that is there.

    Returns: What was written; also in `manifest.json`, which is written last.

    Raises:
        ConfigError: a set is there already.
        StorageError: writing failed.
    """
    if target.exists(MANIFEST_NAME) and not overwrite:
        raise ConfigError(
            f"{target.uri} holds a mask set already: choose another output, read it back with"
            " --verify, or replace it with --overwrite"
        )
    target.delete(MANIFEST_NAME)
    groups = [ids[at : at + ROWS_PER_PART] for at in range(0, len(ids), ROWS_PER_PART)]
    tables = map_tasks(_draw_table, mask_set, groups)
    parts: list[MaskPart] = []
    shares: list[float] = []

    def written() -> Iterator[tuple[str, Mask]]:
        for index, table in enumerate(tables):
            parts.append(_write_part(table, part_name(index), target))
            shares.extend(table["hole_share"].to_pylist())
            for mask_id, data in _columns(table):
                yield mask_id, decode(data)

    digest = mask_digest(written())
    bins = np.bincount([hole_bin(share) for share in shares], minlength=HOLE_BINS)
    manifest = MaskManifest(
        set=mask_set,
        rows=len(ids),
        numbered=list(ids) == numbered_ids(len(ids)),
        masks_sha256=digest,
        hole_share={
            "mean": round(float(np.mean(shares)), 6),
            "least": round(min(shares), 6),
            "most": round(max(shares), 6),
        },
        hole_bins=tuple(int(count) for count in bins),
        parts=tuple(parts),
    )
    target.write(MANIFEST_NAME, (json.dumps(asdict(manifest), indent=1) + "\n").encode())
    return manifest


def verify_mask_set(storage: Storage) -> MaskManifest:
    """Read a written set back, and draw every mask again.

    Raises: StorageError naming the first file or mask that is not what it was.
    """
    manifest = read_mask_manifest(storage)

    def checked() -> Iterator[tuple[str, Mask]]:
        for mask_id, data in _rows(storage, manifest):
            mask = decode(data)
            if not np.array_equal(mask, manifest.set.mask_of(mask_id)):
                raise StorageError(
                    f"{storage.uri}: the mask {mask_id} is not the one that {manifest.set.name} of"
                    f" seed {manifest.set.seed} has: write the set again"
                )
            yield mask_id, mask

    digest = mask_digest(checked())
    if digest != manifest.masks_sha256:
        raise StorageError(
            f"{storage.uri}: the masks have SHA-256 {digest} and the manifest names"
            f" {manifest.masks_sha256}: write the set again"
        )
    return manifest


def open_mask_set(uri: str) -> StoredMasks:
    """Read a written set whole, every file verified. Raises: StorageError."""
    storage = Storage(uri)
    manifest = read_mask_manifest(storage)
    masks = dict(_rows(storage, manifest))
    return StoredMasks(manifest.set, manifest.numbered, masks, storage.uri, manifest.masks_sha256)


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


def _draw_table(mask_set: MaskSet, ids: Sequence[str]) -> pa.Table:
    rows: list[dict[str, object]] = []
    for mask_id in ids:
        mask = mask_set.mask_of(mask_id)
        height, width = mask.shape
        rows.append(
            {
                "id": mask_id,
                "mask": encode(mask),
                "hole_share": hole_share(mask),
                "height": height,
                "width": width,
            }
        )
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _write_part(table: pa.Table, name: str, target: Storage) -> MaskPart:
    buffer = pa.BufferOutputStream()
    # PNG is compressed already.
    pq.write_table(table, buffer, compression="none", use_dictionary=False)
    data = buffer.getvalue().to_pybytes()
    target.write(name, data)
    return MaskPart(name, len(table), len(data), hashlib.sha256(data).hexdigest())


def _rows(storage: Storage, manifest: MaskManifest) -> Iterator[tuple[str, bytes]]:
    for part in manifest.parts:
        table = read_part(storage, PartInfo(part.name, part.rows, part.bytes, part.sha256))
        yield from _columns(table)


def _columns(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    return zip(table["id"].to_pylist(), table["mask"].to_pylist(), strict=True)
