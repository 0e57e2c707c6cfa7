"""kintsugi.manifest: shards are read only when they are what was written."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kintsugi.errors import StorageError
from kintsugi.manifest import (
    MANIFEST_NAME,
    Manifest,
    PartInfo,
    Reject,
    read_manifest,
    read_part,
    verify_shards,
)
from kintsugi.shards import Packing, write_shards
from kintsugi.storage import Storage
from tests.kintsugi.pictures import photo

EXAMPLE = Manifest(
    seed=3,
    rows=5,
    parts=(PartInfo("part-00000.parquet", 2, 10, "ab"), PartInfo("part-00001.parquet", 3, 9, "cd")),
    rejects=(Reject("b/x.jpg", "image_undecodable", "cut"), Reject("c", "image_too_small", "16")),
    ignored=1,
)


@pytest.fixture
def shards(tmp_path: Path) -> Storage:
    """Six photographs in two parts."""
    for index in range(6):
        Storage(tmp_path / "photos").write(f"{index}.png", photo(64 + index, 64, "PNG"))
    write_shards(
        str(tmp_path / "photos"), str(tmp_path / "shards"), packing=Packing(rows_per_part=3)
    )
    return Storage(tmp_path / "shards")


def test_json_and_back() -> None:
    text = EXAMPLE.to_json()
    assert Manifest.from_json(text) == EXAMPLE
    plain = json.loads(text)
    assert plain["version"] == 1
    assert plain["parts"][1] == {
        "name": "part-00001.parquet", "rows": 3, "bytes": 9, "sha256": "cd"
    }  # fmt: skip
    assert plain["schema"] == {
        "id": "string", "image": "binary", "height": "int32", "width": "int32"
    }  # fmt: skip


def test_figures() -> None:
    assert EXAMPLE.figures() == {
        "rows": 5,
        "parts": 2,
        "bytes": 19,
        "ignored": 1,
        "rejects": {"image_undecodable": 1, "image_too_small": 1},
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 2, "has version 2 and this code reads 1"),
        ("version", None, "has version None"),
        ("rows", "5", "broken at rows"),
        ("rows", 6, "rows is 6 and the parts have 5"),
        ("parts", [{"name": "a", "rows": 1}], r"broken at parts\.0\.bytes"),
        ("colour", "red", "broken at colour"),
    ],
)
def test_a_broken_manifest_says_where(key: str, value: object, message: str) -> None:
    plain = json.loads(EXAMPLE.to_json())
    plain[key] = value
    with pytest.raises(StorageError, match=message):
        Manifest.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_object_is_a_storage_error(text: bytes) -> None:
    with pytest.raises(StorageError, match="manifest is broken"):
        Manifest.from_json(text)


def test_where_nothing_was_packed_the_command_is_named(place: str) -> None:
    with pytest.raises(StorageError, match=r"pack them first: jobs/write_shards\.py --input"):
        read_manifest(Storage(place))
    assert "pack them first" in verify_shards(place)[0]


def test_a_part_is_read_whole(shards: Storage) -> None:
    manifest = read_manifest(shards)
    tables = [read_part(shards, part) for part in manifest.parts]
    assert [len(table) for table in tables] == [3, 3]
    assert verify_shards(shards.uri) == []


def test_one_flipped_bit_is_found(shards: Storage) -> None:
    part = read_manifest(shards).parts[1]
    data = bytearray(shards.read(part.name))
    data[len(data) // 2] ^= 1
    shards.write(part.name, bytes(data))
    with pytest.raises(StorageError, match=f"{part.name} has SHA-256 .* expected {part.sha256}"):
        read_part(shards, part)
    assert [part.name in problem for problem in verify_shards(shards.uri)] == [True]


def test_a_part_that_is_cut_short_or_missing_is_found(shards: Storage) -> None:
    first, second = read_manifest(shards).parts
    shards.write(first.name, shards.read(first.name)[:-1])
    with pytest.raises(StorageError, match=f"has {first.bytes - 1} bytes, expected {first.bytes}"):
        read_part(shards, first)
    shards.delete(second.name)
    with pytest.raises(StorageError, match=f"cannot read .*{second.name}"):
        read_part(shards, second)
    assert len(verify_shards(shards.uri)) == 2


def test_verify_finds_strays_wrong_counts_and_doubles(shards: Storage) -> None:
    manifest = read_manifest(shards)
    first, second = manifest.parts
    doubled = replace(first, name="part-00002.parquet")
    shards.write(doubled.name, shards.read(first.name))
    assert verify_shards(shards.uri) == ["part-00002.parquet: not in the manifest"]
    wrong = replace(second, rows=2)
    changed = replace(manifest, parts=(first, wrong, doubled), rows=8)
    shards.write(MANIFEST_NAME, changed.to_json().encode())
    problems = verify_shards(shards.uri)
    assert problems[0] == f"{second.name}: has 3 rows, expected 2"
    assert len(problems) == 4
    assert all("is packed twice" in problem for problem in problems[1:])


def test_verify_finds_other_columns(shards: Storage, tmp_path: Path) -> None:
    from hashlib import sha256

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "t")
    data = (tmp_path / "t").read_bytes()
    part = PartInfo("part-00000.parquet", 1, len(data), sha256(data).hexdigest())
    shards.write(part.name, data)
    shards.write(MANIFEST_NAME, Manifest(seed=0, rows=1, parts=(part,)).to_json().encode())
    assert "has the columns ['id']" in verify_shards(shards.uri)[0]
