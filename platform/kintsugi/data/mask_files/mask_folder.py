"""Places that `data.masks` names -> masks packed into the run's folder; once, in the driver.

A place is a folder of mask pictures, or a set that `kintsugi masks` wrote. Every mask is read
when a run begins, so that none can end it later, and kept with the run: a folder that changes
changes no run that has begun.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from kintsugi.config.sections import DataSection
from kintsugi.data.mask_files.mask_parts import (
    SCHEMA,
    MaskPart,
    mask_row,
    read_mask_manifest,
    read_masks,
    write_mask_part,
)
from kintsugi.data.mask_files.packed_masks import (
    MASKS_PER_PART,
    PackedManifest,
    PackedMasks,
    open_packed,
    parse_packed,
    resize_mask,
)
from kintsugi.data.shard_manifest import MANIFEST_NAME, part_name, read_part_bytes
from kintsugi.data.shards.part_lists import PartInfo
from kintsugi.errors import ConfigError, InputError, InvalidInput
from kintsugi.imaging.codec import decode_mask
from kintsugi.imaging.formats import is_photo
from kintsugi.masks.drawing import Mask
from kintsugi.masks.generators import hole_share
from kintsugi.masks.sets import names_place
from kintsugi.storage.storage import Storage

# Of a run's folder: a folder for each place. Not `masks`, which may be a user's own.
FOLDER = "packed-masks"
# They wait for storage more than they compute.
_THREADS = 16
# Larger masks are kept smaller: the smallest square that is cut of one then has the crop's size.
_MOST_CROPS = 2


@dataclass(frozen=True)
class _File:
    """A mask's name, and its bytes when they are wanted."""

    name: str
    read: Callable[[], bytes]


def pin_masks(data: DataSection, home: Storage) -> list[dict[str, Any]]:
    """Read the masks whose places a section names, and keep them in a run's folder.

    Args:
        data: Its ``masks`` are places, and kinds of holes that are drawn, which need nothing.
        home: The run's folder; masks that it keeps from before go, and where this fails, all.

    Returns: of each place its URI, how many masks it has and what they are known by, as plain
        JSON types.

    Raises:
        ConfigError: a place has no masks, or one that cannot be used; names it and the remedy.
        StorageError: a place cannot be read, or ``home`` not written.
    """
    places = _kept_at(data, home)
    for uri in places:
        _check_apart(uri, home)
    home.delete_folder(FOLDER)
    try:
        packed = {uri: pack_masks(uri, target, data.crop_px) for uri, target in places.items()}
    except BaseException:
        # Those that were packed before the bad one are of no use to anybody.
        home.delete_folder(FOLDER)
        raise
    return [
        {"uri": uri, "masks": masks.count, "sha256": masks.sha256} for uri, masks in packed.items()
    ]


def is_pinned(data: DataSection, home: Storage) -> bool:
    """Whether `pin_masks` has kept all of these masks in a folder, to its end."""
    return all(target.exists(MANIFEST_NAME) for target in _kept_at(data, home).values())


def with_pinned(data: DataSection, home: Storage) -> DataSection:
    """The section with what `pin_masks` keeps where it names places."""
    kept = {uri: target.uri for uri, target in _kept_at(data, home).items()}
    return replace(data, masks=tuple(kept.get(each, each) for each in data.masks))


def _kept_at(data: DataSection, home: Storage) -> dict[str, Storage]:
    places = dict.fromkeys(each for each in data.masks if names_place(each))
    return {uri: home.join(FOLDER, str(number)) for number, uri in enumerate(places)}


def _check_apart(uri: str, home: Storage) -> None:
    """Raises: ConfigError: a place lies in the run's folder, or that one in it."""
    place, run = (f"{each.uri.rstrip('/')}/" for each in (Storage(uri), home))
    if place.startswith(run) or run.startswith(place):
        raise ConfigError(
            f"data.masks: {uri} and the run's folder {home.uri} lie in one another, and what a run"
            " keeps of masks is its own: move the masks, or choose another storage"
        )


def pack_masks(uri: str, target: Storage, crop_px: int) -> PackedMasks:
    """Pack the masks of one place; their manifest comes last.

    Args:
        uri: A folder of mask pictures, a written set, or masks that are packed already; those that
            are packed for the same crops are copied as they are.
        target: An empty folder.
        crop_px: Side of the crops that they are for.

    Raises: as `pin_masks`.
    """
    source = Storage(uri)
    manifest = _packed_at(source)
    if manifest and manifest.crop_px == crop_px:
        _copy(manifest.parts, source, target)
    else:
        parts = _pack(source, manifest, target, crop_px)
        manifest = PackedManifest(uri, crop_px, sum(part.rows for part in parts), tuple(parts))
    target.write(MANIFEST_NAME, (json.dumps(asdict(manifest), indent=1) + "\n").encode())
    return open_packed(target.uri)


def _packed_at(source: Storage) -> PackedManifest | None:
    """The manifest of masks that are packed; None: these are no such masks."""
    if not source.exists(MANIFEST_NAME):
        return None
    data = source.read(MANIFEST_NAME)
    return parse_packed(data, source.uri) if b'"packed_from"' in data else None


def _copy(parts: Sequence[MaskPart], source: Storage, target: Storage) -> None:
    def copy(part: MaskPart) -> None:
        about = PartInfo(part.name, part.rows, part.bytes, part.sha256)
        target.write(part.name, read_part_bytes(source, about))

    with ThreadPoolExecutor(_THREADS) as threads:
        # What one of them raised is raised here.
        list(threads.map(copy, parts))


def _pack(
    source: Storage, packed: PackedManifest | None, target: Storage, crop_px: int
) -> list[MaskPart]:
    if packed:
        groups = _grouped(_read(source, packed.parts))
    elif source.exists(MANIFEST_NAME):
        groups = _grouped(_read(source, read_mask_manifest(source).parts))
    else:
        groups = _pictures(source)
    numbered_groups = enumerate(groups)

    def pack(numbered: tuple[int, Sequence[_File]]) -> MaskPart:
        number, files = numbered
        return _write_part(number, _prepared(files, source, crop_px), target)

    parts: list[MaskPart] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        # In rounds: of a written set only so many files are in memory at one time.
        while some := list(islice(numbered_groups, 2 * _THREADS)):
            parts += threads.map(pack, some)
    return parts


def _pictures(source: Storage) -> Iterator[list[_File]]:
    """The pictures in a folder, at any depth, in the order of their names."""
    names = [name for name in source.list() if is_photo(name)]
    if not names:
        raise ConfigError(
            f"data.masks: there is no picture in {source.uri}: name a folder of masks in which"
            " white is the hole, or one set that kintsugi masks wrote"
        )
    return _grouped(_File(name, partial(source.read, name)) for name in names)


def _read(source: Storage, parts: Sequence[MaskPart]) -> Iterator[_File]:
    """The masks of a written set, or of packed ones, every file verified."""
    for name, mask in read_masks(source, parts):
        yield _File(name, partial(bytes, mask))


def _grouped(files: Iterator[_File]) -> Iterator[list[_File]]:
    while group := list(islice(files, MASKS_PER_PART)):
        yield group


def _prepared(files: Sequence[_File], source: Storage, crop_px: int) -> list[dict[str, Any]]:
    """Rows of a part, of masks none larger than is of use.

    Raises: ConfigError that names the first that cannot be used, and how many more of these.
    """
    # Encoded at once: of a part's masks as arrays sixteen threads would hold gigabytes.
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for file in files:
        try:
            rows.append(mask_row(file.name, _prepare(file.read(), crop_px)))
        except InputError as error:
            hint = f" ({error.hint})" if error.hint else ""
            problems.append(f"{source.uri}/{file.name} is no mask to train with: {error}{hint}")
    if problems:
        others = f"; so are {len(problems) - 1} of the {len(files) - 1} that were read with it"
        more = others if len(problems) > 1 else ""
        raise ConfigError(f"data.masks: {problems[0]}: mend it, or take it out of the folder{more}")
    return rows


def _prepare(data: bytes, crop_px: int) -> Mask:
    """A mask as it is kept. Raises: InputError that says why it is of no use."""
    hole = decode_mask(data)
    if not hole.any():
        raise _useless("it has no hole, which is white")
    if hole.all():
        raise _useless("it is all hole, which is white, and leaves nothing known")
    if min(hole.shape) > _MOST_CROPS * crop_px:
        scale = _MOST_CROPS * crop_px / min(hole.shape)
        height, width = (round(scale * side) for side in hole.shape)
        hole = resize_mask(hole, height, width)
    # As the last resort of `cut_mask` shows it.
    share = hole_share(resize_mask(hole, crop_px, crop_px))
    if not 0 < share < 1:
        what = "its hole is too small" if share == 0 else "too little is known"
        raise _useless(f"{what} to be seen in a crop of {crop_px} px")
    return hole


def _useless(why: str) -> InvalidInput:
    return InvalidInput(why, code="mask_useless")


def _write_part(number: int, rows: Sequence[dict[str, Any]], target: Storage) -> MaskPart:
    return write_mask_part(pa.Table.from_pylist(rows, schema=SCHEMA), part_name(number), target)
