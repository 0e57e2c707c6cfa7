"""kintsugi.data.sources.lmdb_input: what is no text, no database or no disk is said."""

import importlib.util
from pathlib import Path

import pytest

from kintsugi.data.shard_writer import write_shards
from kintsugi.data.sources.lmdb_input import index_lmdb, read_lmdb
from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage.storage import Storage
from tests.kintsugi.data.sources.collections import as_lmdb
from tests.kintsugi.pictures import photo


def test_every_key_is_a_photograph_or_listed(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    place = Storage(tmp_path / "in")
    as_lmdb({"a": photo(), "b": photo(70, 70), "num-samples": b"2"}, place)
    with lmdb.open(place.uri) as database, database.begin(write=True) as transaction:
        transaction.put(b"\xff\xfe", photo())
    pages = list(index_lmdb(place, "data.mdb"))
    sizes = {item.id: item.size for page in pages for item in page.items}
    assert sizes["a"] == len(photo())
    assert read_lmdb(place, "data.mdb", "b") == photo(70, 70)
    manifest = write_shards(place.uri, str(tmp_path / "out"))
    assert manifest.rows == 2
    assert {reject.reason for reject in manifest.rejects} == {
        "image_format_not_allowed",
        "name_not_unicode",
    }
    with pytest.raises(StorageError, match="has no c any more"):
        read_lmdb(place, "data.mdb", "c")


def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    Storage(tmp_path / "in").write("data.mdb", b"x" * 10_000)
    with pytest.raises(StorageError, match=r"cannot read .*in/data\.mdb: .*or is no LMDB"):
        write_shards(str(tmp_path / "in"), str(tmp_path / "out"))


def test_a_database_in_a_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"LMDB in an object store.*copy it to one, or pack"):
        list(index_lmdb(Storage("s3://photos/train"), "data.mdb"))


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'lmdb is not installed: .*inpainting\[lmdb\]"'):
        list(index_lmdb(Storage(tmp_path), "data.mdb"))
