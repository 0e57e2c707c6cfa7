"""Photographs -> Parquet shards with a manifest; knows no crop, no mask and no training.

Each photograph is decoded once to prove that it can be, and stored as the
bytes it came in. One part is packed at a time by each worker, so memory is
bounded by the size of a part and not by the data set.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kintsugi.data.packing import Packing, PartPlan
from kintsugi.data.shard_manifest import (
    MANIFEST_NAME,
    SCHEMA,
    Manifest,
    describe_parts,
    is_part,
    part_name,
    read_manifest,
)
from kintsugi.data.shards.part_lists import PartInfo, Reject
from kintsugi.data.sources.items import Intake
from kintsugi.data.sources.listing import Source, fingerprint_of, list_photos, open_source
from kintsugi.data.sources.parquet_input import COPIES
from kintsugi.data.sources.source_record import (
    Fingerprint,
    note_source,
    packing_of,
    source_of,
)
from kintsugi.data.sources.spool import Spool, spool
from kintsugi.data.unfinished import (
    UNFINISHED_NAME,
    PartResult,
    Unfinished,
    check_mark,
    note_done,
)
from kintsugi.errors import ConfigError, InputError, InvalidInput
from kintsugi.imaging.codec import decode_image, encode_image
from kintsugi.imaging.limits import check_length
from kintsugi.storage.parallel import map_tasks
from kintsugi.storage.storage import Storage

# Rows that a reader which wants only some of them can skip at a time.
_ROWS_PER_GROUP = 64
# Quality of photographs that are stored smaller than they came.
_QUALITY = 95


# Called after each part with its result, the number of parts done and of all.
Report = Callable[[PartResult, int, int], None]


def write_shards(
    input_uri: str,
    output_uri: str,
    *,
    seed: int = 0,
    packing: Packing = Packing(),
    intake: Intake = Intake(),
    report: Report | None = None,
) -> Manifest:
    """Pack all photographs of a place into shards.

    Parts are Ray tasks where this process has initialised Ray. The same photographs under the same
    ids, packing and library versions give the same files, whatever they come from. An unreadable
    photograph is listed and left out.

    Args:
        input_uri: A folder or bucket of photographs, found by extension at any depth; or of tar
            or Parquet files or an LMDB that they are in; or one such file.
        output_uri: Folder of the shards.
        seed: Decides the order of the rows.
        packing: Sizes, limits and the share to hold out.
        intake: What photographs are in, and how they are found there.
        report: Called with each part once it is done, in the order of the plans.

    Returns: What was written; also in `manifest.json`, which is written last.

    Raises:
        ConfigError: No photographs there, or shards or other parts are there already, or another
            packing has begun there.
        InvalidInput: None of the photographs can be used.
        StorageError: Reading, listing or writing failed.
    """
    target = Storage(output_uri)
    if not packing.overwrite:
        _check_free(target)
    source = open_source(input_uri, target, intake)
    seen = Fingerprint()
    with spool(list_photos(source, seen), packing, seed) as photos:
        digest = photos.digest(f"{source.uri} {packing} {seed}")
        # Listing takes long: meanwhile another packing may have begun or ended here.
        if target.exists(MANIFEST_NAME) and not packing.overwrite:
            if packing_of(target, target.read(MANIFEST_NAME)) == digest:
                return read_manifest(target)
            _check_free(target)
        unfinished = Unfinished(target, digest)
        earlier = unfinished.begin()
        work = _Work(source, target, packing, digest)
        results = list(_pack_all(work, photos, unfinished.done(), report))
    check_mark(target, digest)
    parts = tuple(result.part for result in results if result.part)
    rejects = [*photos.rejects, *(reject for result in results for reject in result.rejects)]
    if not parts:
        unfinished.end(earlier)  # Nothing was written: what was there is still whole.
        target.delete_folder(COPIES)
        first = f"; the first: {rejects[0].id}: {rejects[0].detail}" if rejects else ""
        raise InvalidInput(
            f"none of the {photos.count} photographs in {source.uri} can be used{first}",
            code="no_usable_photographs",
        )
    manifest = Manifest(
        seed=seed,
        rows=sum(part.rows for part in parts),
        parts=parts,
        rejects=tuple(sorted(rejects, key=lambda reject: (reject.id, reject.detail))),
        ignored=photos.ignored,
        held_out_share=packing.held_out_share,
    )
    for name in set(filter(is_part, target.list())) - {part.name for part in parts}:
        target.delete(name)  # Of an earlier writing that had more of them.
    described = describe_parts(manifest, target)
    note_source(target, seen.digest(), digest, described)
    unfinished.end(described)
    target.delete_folder(COPIES)
    return manifest


def read_packed(
    target: Storage,
    *,
    photos: str | None = None,
    held_out_share: float | None = None,
    intake: Intake = Intake(),
) -> Manifest:
    """The manifest of shards that are there already, and are of what is asked for.

    Args:
        target: The folder of the shards.
        photos: URI of what they are to be of; None: of anything. Shards that do not say what they
            are of are taken for it.
        held_out_share: The share that they are to hold out; None: any.
        intake: How photographs are found there.

    Raises:
        ConfigError: They are of other photographs, or hold another share out.
        StorageError: As `read_manifest`, or listing failed.
    """
    manifest = read_manifest(target)
    packed = manifest.held_out_share
    remedy = "choose another output, or pack them again: kintsugi shards --overwrite"
    if held_out_share not in (None, packed):
        raise ConfigError(
            f"the shards at {target.uri} hold a share of {packed:g} out, not {held_out_share:g}:"
            f" what is kept out by the one is trained on by the other. Give --held-out {packed:g},"
            f" {remedy}"
        )
    of = source_of(target, target.read(MANIFEST_NAME))
    if photos and of and of != fingerprint_of(open_source(photos, target, intake)):
        raise ConfigError(
            f"the shards at {target.uri} are of other photographs than {photos} holds now: {remedy}"
        )
    return manifest


@dataclass(frozen=True)
class _Work:
    """What all parts share; it travels to the tasks."""

    source: Source
    target: Storage
    packing: Packing
    digest: str


def pack_part(source: Source, target: Storage, plan: PartPlan, packing: Packing) -> PartResult:
    """Check the photographs of one plan and write those that are good as one shard.

    Args:
        source: Where the photographs are.
        target: Where the shard is written.
        plan: Which photographs, and the shard's name.
        packing: Their largest size, and how they are stored.

    Raises:
        StorageError: Reading or writing failed for a reason that is not one photograph's own.
    """
    rows: list[dict[str, object]] = []
    rejects: list[Reject] = []
    for item in plan.items:
        try:
            # Before it is read: what is no photograph may be larger than the memory.
            check_length(item.size, packing.limits, "image")
            data, height, width = _checked(source.read(item), packing)
        except InputError as error:
            rejects.append(Reject(item.id, error.code, str(error)))
        else:
            rows.append({"id": item.id, "image": data, "height": height, "width": width})
    if not rows:
        return PartResult(None, tuple(rejects))
    buffer = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist(rows, schema=SCHEMA),
        buffer,
        row_group_size=_ROWS_PER_GROUP,
        # Photographs are compressed already.
        compression="none",
        use_dictionary=False,
    )
    packed = buffer.getvalue().to_pybytes()
    target.write(plan.name, packed)
    digest = hashlib.sha256(packed).hexdigest()
    part = PartInfo(plan.name, len(rows), len(packed), digest, plan.split)
    return PartResult(part, tuple(rejects))


def _checked(data: bytes, packing: Packing) -> tuple[bytes, int, int]:
    """A photograph as it is stored, and its height and width. Raises: InputError."""
    most = packing.max_side
    # What is decoded at a fraction of its size is still at least twice what is stored.
    decoded = decode_image(data, packing.limits, draft_side=2 * most)
    pixels = decoded.pixels
    shorter = min(pixels.shape[:2])
    if not most or shorter <= most:
        return data, *pixels.shape[:2]
    scale = most / shorter
    size = tuple(max(most, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0]))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    packed = encode_image(small, "jpeg", quality=_QUALITY, icc_profile=decoded.icc_profile)
    return packed, *small.shape[:2]


def _pack_all(
    work: _Work, photos: Spool, done: dict[str, PartResult], report: Report | None
) -> Iterator[PartResult]:
    """Pack every plan that is not done, here or in Ray; results come in the plans' order."""
    total = len(photos)
    left = [index for index in range(total) if part_name(index) not in done]
    plans = map(photos.plan, left)
    # One part is not worth a task, and may lie in a folder that only this machine has.
    here = len(left) == 1
    packed = (_pack(work, plan) for plan in plans) if here else map_tasks(_pack, work, plans)
    for index in range(total):
        name = part_name(index)
        result = done[name] if name in done else next(packed)
        if report is not None:
            report(result, index + 1, total)
        yield result


def _pack(work: _Work, plan: PartPlan) -> PartResult:
    check_mark(work.target, work.digest)
    result = pack_part(work.source, work.target, plan, work.packing)
    note_done(work.target, plan.name, result)
    return result


def _check_free(target: Storage) -> None:
    """Refuse a folder with shards, or with parts that no cut-off writing of ours left."""
    if target.exists(MANIFEST_NAME):
        raise ConfigError(
            f"{target.uri} holds shards already: choose another output, or replace them with"
            " --overwrite"
        )
    found = [name for name in target.list() if re.fullmatch(r"part-[^/]*\.parquet", name)]
    if found and not target.exists(UNFINISHED_NAME):
        raise ConfigError(
            f"{target.uri} holds {len(found)} Parquet files such as {found[0]} but no manifest:"
            f" choose another output, or --overwrite, which deletes those named like {part_name(0)}"
        )
