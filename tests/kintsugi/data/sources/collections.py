"""The same photographs in every kind of place that they are packed from."""

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kintsugi.storage.storage import Storage

Photos = Mapping[str, bytes]


def tar_of(files: Photos, format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def parquet_of(table: pa.Table, rows: int = 3) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=rows)
    return buffer.getvalue()


def structs_of(photos: Photos, **more: list[object]) -> pa.Table:
    """As Hugging Face `datasets` stores images."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": data, "path": name} for name, data in photos.items()]
    return pa.table({"image": pa.array(images, kind), **more})


def halves(photos: Photos) -> list[Photos]:
    names = list(photos)
    middle = len(names) // 2
    return [{name: photos[name] for name in some} for some in (names[:middle], names[middle:])]


def as_files(photos: Photos, place: Storage) -> None:
    for name, data in photos.items():
        place.write(name, data)


def as_tars(photos: Photos, place: Storage) -> None:
    for number, some in enumerate(halves(photos)):
        place.write(f"train/shard-{number:05d}.tar", tar_of(some))


def as_structs(photos: Photos, place: Storage) -> None:
    for number, some in enumerate(halves(photos)):
        labels: list[object] = [number] * len(some)
        table = structs_of(some, label=labels)
        place.write(f"data/train-{number:05d}-of-00002.parquet", parquet_of(table))


def as_binaries(photos: Photos, place: Storage) -> None:
    table = pa.table({"key": list(photos), "jpg": pa.array(photos.values(), pa.large_binary())})
    place.write("photos.parquet", parquet_of(table))


def as_lmdb(photos: Photos, place: Storage) -> None:
    import lmdb

    Path(place.uri).mkdir(parents=True)
    with (
        lmdb.open(os.fsencode(place.uri), map_size=2**28) as database,
        database.begin(write=True) as transaction,
    ):
        for name, data in photos.items():
            transaction.put(name.encode(), data)


WRITERS: dict[str, Callable[[Photos, Storage], None]] = {
    "files": as_files,
    "tars": as_tars,
    "structs": as_structs,
    "binaries": as_binaries,
    "lmdb": as_lmdb,
}
