"""Photographs in an LMDB, a database of keys and values in one file; knows no decoder."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kintsugi.data.sources.items import Item, Page
from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage.storage import Storage

# The file of a database that is a folder, and what lies next to it.
DATA_NAME, LOCK_NAME = "data.mdb", "lock.mdb"
PLACE = "lmdb"
_PAGE_ITEMS = 10_000


def index_lmdb(storage: Storage, name: str) -> Iterator[Page]:
    """The keys of a database with the sizes of their values.

    Args:
        storage: Where the database lies; on this machine.
        name: Of its `data.mdb` there.

    Raises:
        ConfigError: It lies in an object store, or the extra `lmdb` is not installed.
        StorageError: It cannot be read.
    """
    with _reading(storage, name) as transaction:
        page = Page()
        for key, value in transaction.cursor():
            # As names of files, of which those that are no text are listed and left out.
            text = bytes(key).decode("utf-8", "surrogateescape")
            page.items.append(Item(text, len(value), f"{PLACE}:{name}"))
            if len(page.items) == _PAGE_ITEMS:
                yield page
                page = Page()
        yield page


def read_lmdb(storage: Storage, name: str, item_id: str) -> bytes:
    """The value of a key. Raises: as `index_lmdb`; StorageError: it is not there any more."""
    with _reading(storage, name) as transaction:
        value = transaction.get(item_id.encode())
        if value is None:
            raise StorageError(f"{storage.uri}/{name} has no {item_id} any more: it was changed")
        return bytes(value)


@contextmanager
def _reading(storage: Storage, name: str) -> Iterator[Any]:
    if storage.is_bucket:
        raise ConfigError(
            f"{storage.uri}/{name} is an LMDB in an object store, and such a database is read from"
            " a disk alone: copy it to one, or pack its photographs as tar files"
        )
    if importlib.util.find_spec("lmdb") is None:
        raise ConfigError(
            f"{name} is an LMDB, and the package lmdb is not installed:"
            ' pip install "kintsugi-inpainting[lmdb]"'
        )
    import lmdb

    try:
        with (
            lmdb.open(
                # As bytes: a path may be no UTF-8.
                os.fsencode(Path(storage.uri) / name),
                subdir=False,
                readonly=True,
                lock=False,
                create=False,
            ) as database,
            database.begin(buffers=True) as transaction,
        ):
            yield transaction
    except lmdb.Error as error:
        raise StorageError(
            f"cannot read {storage.uri}/{name}: {error}: it was cut short, or is no LMDB"
        ) from error
