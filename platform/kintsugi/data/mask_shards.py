"""Mask sets as Parquet shards with a manifest: written, read back, verified; draws nothing itself.

The manifest's `masks_sha256` is of the masks themselves, so it is the same with every version of
the libraries that write the files. `kintsugi evaluate` takes the folder of a set in the place of
its name; `kintsugi.data.mask_files.mask_parts` has the format.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kintsugi.data.mask_files.mask_parts import (
    SCHEMA,
    MaskManifest,
    MaskPart,
    decode,
    mask_row,
    masks_in,
    read_mask_manifest,
    read_masks,
    write_mask_part,
)
from kintsugi.data.shard_manifest import MANIFEST_NAME, part_name
from kintsugi.data.shard_reader import sample_key
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.masks.generators import Mask
from kintsugi.masks.sets import HOLE_BINS, MaskSet, hole_bin, mask_digest, numbered_ids
from kintsugi.storage.parallel import map_tasks
from kintsugi.storage.storage import Storage

# About 2 kB a mask: parts of some megabytes.
ROWS_PER_PART = 1024


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
            parts.append(write_mask_part(table, part_name(index), target))
            shares.extend(table["hole_share"].to_pylist())
            for mask_id, data in masks_in(table):
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
        for mask_id, data in read_masks(storage, manifest.parts):
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
    masks = dict(read_masks(storage, manifest.parts))
    return StoredMasks(manifest.set, manifest.numbered, masks, storage.uri, manifest.masks_sha256)


def _draw_table(mask_set: MaskSet, ids: Sequence[str]) -> pa.Table:
    rows = [mask_row(mask_id, mask_set.mask_of(mask_id)) for mask_id in ids]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
