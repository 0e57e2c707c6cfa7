"""Reading a whole folder of shards back and listing what is wrong with it; knows no Ray."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa

from kintsugi.data.packing import Packing, place_of
from kintsugi.data.shard_manifest import SCHEMA, Manifest, is_part, read_manifest, read_part
from kintsugi.data.shards.part_lists import PER_LIST, PartInfo
from kintsugi.data.splits import HELD_OUT, is_held_out
from kintsugi.errors import InputError, StorageError
from kintsugi.imaging.codec import decode_image
from kintsugi.storage.storage import Storage

# Shards that are held in memory at one time are no more than this.
_MOST_THREADS = 8


def verify_shards(uri: str, *, decode: bool = False) -> list[str]:
    """Read every shard of a folder and list what is wrong, one sentence each.

    Args:
        uri: A folder that `write_shards` wrote.
        decode: Also decode every photograph; takes as long as packing did.
    """
    storage = Storage(uri)
    try:
        manifest = read_manifest(storage)
    except StorageError as error:
        return [str(error)]
    share = manifest.held_out_share

    def check(part: PartInfo) -> tuple[list[str], list[str]]:
        return _check_part(storage, part, share, decode)

    problems: list[str] = []
    order, known = _Order(manifest), set[str]()
    # Reading, hashing and decoding all let other threads run.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        for start in range(0, len(manifest.parts), PER_LIST):
            try:
                parts = manifest.parts[start : start + PER_LIST]
            except StorageError as error:
                problems.append(str(error))
                continue
            known |= {part.name for part in parts}
            for part, (found, ids) in zip(parts, threads.map(check, parts), strict=True):
                problems += found
                problems += order.repeated(part, ids)
    problems += order.repeated_elsewhere(storage)
    strays = [name for name in storage.list() if is_part(name) and name not in known]
    return problems + [f"{name}: not in the manifest" for name in strays]


class _Order:
    """Ids as they come, for what is packed twice.

    Parts are in the order of a hash of their ids, so that equal ones are neighbours, and no list
    of all is needed. What another program packed may not be: those ids are kept, and looked for in
    all parts at the end.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._packing = Packing(held_out_share=manifest.held_out_share)
        self._last: tuple[bool, bytes, str] | None = None
        self._out_of_order: dict[str, list[str]] = {}

    def repeated(self, part: PartInfo, ids: list[str]) -> Iterator[str]:
        """What is wrong with the next part's ids."""
        for name in ids:
            place = (
                part.split == HELD_OUT,
                place_of(name, self._packing, self._manifest.seed)[1],
                name,
            )
            if place == self._last:
                yield _twice(part.name, name)
            elif self._last is not None and place < self._last:
                self._out_of_order.setdefault(name, []).append(part.name)
            else:
                self._last = place

    def repeated_elsewhere(self, storage: Storage) -> Iterator[str]:
        """The same of ids that are not where their hash says, after all parts."""
        if not self._out_of_order:
            return
        counts: Counter[str] = Counter()
        for start in range(0, len(self._manifest.parts), PER_LIST):
            # What cannot be read was listed already.
            with suppress(StorageError):
                for part in self._manifest.parts[start : start + PER_LIST]:
                    counts.update(self._found_in(storage, part))
        for name, parts in self._out_of_order.items():
            again = counts[name] - 1
            yield from (_twice(part, name) for part in parts[max(0, len(parts) - again) :])

    def _found_in(self, storage: Storage, part: PartInfo) -> list[str]:
        try:
            table = read_part(storage, part)
        except StorageError:
            return []
        ids = table["id"].to_pylist() if table.schema == SCHEMA else []
        return [name for name in ids if name in self._out_of_order]


def _twice(part: str, name: str) -> str:
    return f"{part}: {name} is packed twice"


def _check_part(
    storage: Storage, part: PartInfo, share: float, decode: bool
) -> tuple[list[str], list[str]]:
    """What is wrong with one shard, and the ids in it."""
    try:
        table = read_part(storage, part)
    except StorageError as error:
        return [str(error)], []
    if table.schema != SCHEMA:
        columns = f"has the columns {table.schema.names}, expected {SCHEMA.names}"
        return [f"{part.name}: {columns}"], []
    problems = []
    if len(table) != part.rows:
        problems.append(f"has {len(table)} rows, expected {part.rows}")
    ids: list[str] = table["id"].to_pylist()
    problems += [
        f"{name} is in the split {part.split}, where it does not belong"
        for name in ids
        if is_held_out(name, share) != (part.split == HELD_OUT)
    ]
    if decode:
        problems += _undecodable(table)
    return [f"{part.name}: {problem}" for problem in problems], ids


def _undecodable(table: pa.Table) -> Iterator[str]:
    for name, data in zip(table["id"], table["image"], strict=True):
        try:
            decode_image(data.as_py())
        except InputError as error:
            yield f"{name.as_py()} does not decode: {error}"
