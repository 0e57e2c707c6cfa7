"""Photographs in columns of Parquet files, as Hugging Face `datasets` writes them; no decoder.

A photograph cannot be read out of such a file without all of its neighbours, and shards hold them
in an order of their own. So each file is read once, from its beginning to its end, and its
photographs are copied into files of which any part can be read.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from kintsugi.data.shards.part_lists import Reject
from kintsugi.data.sources.items import Intake, Item, Page, hashed, readable
from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage.range_file import RangeFile
from kintsugi.storage.storage import Storage

SUFFIX = ".parquet"
PLACE = "copy"
# Folder of the copies, where the shards will be.
COPIES = "unfinished-copies"
# Bytes of photographs in a copy; a larger single one is a copy by itself.
_COPY_BYTES = 32 * 2**20
_ROWS_AT_ONCE = 32
_ID_COLUMNS = ("id", "key", "__key__", "path", "file_name", "filename", "image_path", "name")
_INDEX = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("other_id", pa.string(), nullable=False),
    ]
)
_TEXTS = pa.schema([pa.field(name, pa.string()) for name in ("id", "reason", "detail")])


@dataclass(frozen=True)
class Columns:
    """Where in a table photographs and their names are.

    Attributes:
        image: A column of binaries, or of structs with a field `bytes`.
        is_struct: Which of the two.
        has_path: The structs have a field `path`.
        id: A column of texts or numbers; "" where there is none.
    """

    image: str
    is_struct: bool
    has_path: bool
    id: str


def find_columns(schema: pa.Schema, intake: Intake, where: str) -> Columns:
    """The columns that a user named, or those that can be meant.

    Raises: ConfigError: there is none, or several can be meant.
    """
    candidates = [field.name for field in schema if _holds_images(field.type)]
    image = intake.image_column
    if not image:
        image = "image" if "image" in candidates else candidates[0] if candidates else ""
        if len(candidates) != 1 and image != "image":
            raise ConfigError(
                f"{where} has {len(candidates)} columns that can hold photographs"
                f" ({', '.join(candidates) or 'binary, or structs with bytes'}) of"
                f" {', '.join(schema.names)}: name one with --image-column"
            )
    if image not in candidates:
        raise ConfigError(
            f"{where} has no column {image} of binaries, or of structs with bytes; its columns are"
            f" {', '.join(schema.names)}: name another with --image-column"
        )
    if intake.id_column and intake.id_column not in schema.names:
        raise ConfigError(
            f"{where} has no column {intake.id_column}; its columns are"
            f" {', '.join(schema.names)}: name another with --id-column"
        )
    kind = schema.field(image).type
    fields = {kind.field(index).name for index in range(kind.num_fields)}
    usual = (name for name in _ID_COLUMNS if name in schema.names and _names(schema, name))
    return Columns(
        image=image,
        is_struct=pa.types.is_struct(kind),
        # What a user names counts for more than a path.
        has_path="path" in fields and not intake.id_column,
        id=intake.id_column or next(usual, ""),
    )


def copy_parquet(storage: Storage, name: str, size: int, copies: Storage, intake: Intake) -> Page:
    """Copy a file's photographs to where any of them can be read; one that was is not again.

    Args:
        storage: Where the file lies.
        name: Its name there.
        size: Its bytes.
        copies: Folder of the copies.
        intake: Which columns.

    Raises:
        ConfigError: as `find_columns`.
        StorageError: the file cannot be read to its end, or a copy not be written.
    """
    # By what an index holds, too: one of an earlier version is none.
    about = f"{storage.uri} {name} {size} {intake} {_INDEX.names}"
    own = copies.join(hashlib.sha256(hashed(about)).hexdigest())
    # Written last: it vouches for the others.
    if not own.exists("index.parquet"):
        _copy(storage, name, size, own, intake)
    return _read_index(own)


def _copy(storage: Storage, name: str, size: int, own: Storage, intake: Intake) -> None:
    where = f"{storage.uri}/{name}"
    place = f"{PLACE}:{own.uri.rpartition('/')[2]}"
    items: list[Item] = []
    rejects: list[Reject] = []
    block, blocks = io.BytesIO(), 0
    try:
        for item_id, other_id, data in _photos(RangeFile(storage, name, size), where, name, intake):
            if data is None:
                why = "the row has no bytes: photographs outside of the file are not followed"
                rejects.append(Reject(item_id, "no_bytes", why))
                continue
            if block.tell() and block.tell() + len(data) > _COPY_BYTES:
                own.write(f"{blocks:05d}", block.getvalue())
                block, blocks = io.BytesIO(), blocks + 1
            where_it_is = f"{place}/{blocks:05d}", block.tell()
            items.append(Item(item_id, len(data), *where_it_is, other_id))
            block.write(data)
    except (pa.ArrowException, OSError) as error:
        # Arrow says both of a file that is none.
        why = str(error).partition("\n")[0]
        raise StorageError(
            f"cannot read {where}: {why}: it was cut short or damaged: copy it once more, or"
            " leave it out"
        ) from error
    own.write(f"{blocks:05d}", block.getvalue())
    _write(own, "rejects.parquet", pa.Table.from_pylist([vars(each) for each in rejects], _TEXTS))
    _write(own, "index.parquet", pa.Table.from_pylist([i._asdict() for i in items], _INDEX))


def _photos(
    file: RangeFile, where: str, name: str, intake: Intake
) -> Iterator[tuple[str, str, bytes | None]]:
    """Of each row its id, its id where others have that one, and its bytes."""
    table = pq.ParquetFile(file)
    columns = find_columns(table.schema_arrow, intake, where)
    wanted = [columns.image, *([columns.id] if columns.id else [])]
    stem, row = readable(name.removesuffix(SUFFIX)), 0
    for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=wanted, use_threads=False):
        images = batch.column(columns.image).to_pylist()
        ids = batch.column(columns.id).to_pylist() if columns.id else [None] * len(batch)
        for image, item_id in zip(images, ids, strict=True):
            # Of a struct that is null its fields are, too.
            data, path = image, None
            if columns.is_struct:
                data = (image or {}).get("bytes")
                path = (image or {}).get("path") if columns.has_path else None
            named, own = path or item_id, f"{stem}/{row:09d}"
            # What nobody named as a name may be a label, or begin again in each file.
            other = "" if intake.id_column or named is None else own
            yield (own if named is None else str(named)), other, data
            row += 1


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _names(schema: pa.Schema, name: str) -> bool:
    kind = schema.field(name).type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(text or pa.types.is_integer(kind))


def _read_index(own: Storage) -> Page:
    index, rejects = (_read(own, f"{name}.parquet") for name in ("index", "rejects"))
    items = [Item(**row) for row in index.to_pylist()]
    return Page(items, [Reject(**row) for row in rejects.to_pylist()])


def _write(storage: Storage, name: str, table: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    storage.write(name, buffer.getvalue().to_pybytes())


def _read(storage: Storage, name: str) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(storage.read(name))).read(use_threads=False)
