"""kintsugi.data.shard_manifest: shards are read only when they are what was written."""

import json
from hashlib import sha256

import numpy as np
import pytest

from kintsugi.data.shard_manifest import Manifest, read_manifest, read_part
from kintsugi.data.shard_verify import verify_shards
from kintsugi.data.shards.part_lists import PartInfo, Reject
from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage

# Where a manifest that lists its parts itself looks for nothing.
NOWHERE = Storage("/nowhere")
EXAMPLE = Manifest(
    seed=3,
    rows=5,
    parts=(
        PartInfo("part-00000.parquet", 2, 10, "ab"),
        PartInfo("part-00001.parquet", 3, 9, "cd", HELD_OUT),
    ),
    rejects=(Reject("b/x.jpg", "image_undecodable", "cut"), Reject("c", "image_too_small", "16")),
    ignored=1,
    held_out_share=0.5,
)


def test_json_and_back() -> None:
    text = EXAMPLE.to_json()
    assert Manifest.from_json(text, NOWHERE) == EXAMPLE
    plain = json.loads(text)
    assert plain["version"] == 2
    assert plain["parts"][1] == {
        "name": "part-00001.parquet", "rows": 3, "bytes": 9, "sha256": "cd", "split": "held_out"
    }  # fmt: skip
    assert plain["schema"] == {
        "id": "string", "image": "binary", "height": "int32", "width": "int32"
    }  # fmt: skip


def test_a_manifest_from_before_there_were_splits_is_all_for_training() -> None:
    plain = json.loads(EXAMPLE.to_json()) | {"version": 1}
    del plain["held_out_share"]
    for part in plain["parts"]:
        del part["split"]
    manifest = Manifest.from_json(json.dumps(plain), NOWHERE)
    assert [part.rows for part in manifest.only(TRAIN)] == [2, 3]
    assert manifest.only(HELD_OUT) == ()


def test_figures() -> None:
    assert EXAMPLE.to_dict() == {
        "rows": 5,
        "held_out": 3,
        "parts": 2,
        "bytes": 19,
        "ignored": 1,
        "rejects": {"image_undecodable": 1, "image_too_small": 1},
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 4, "has version 4 and this code reads 1 to 3"),
        ("version", None, "has version None"),
        ("rows", "5", "broken at rows"),
        ("rows", 6, "rows is 6 and the parts have 5"),
        ("parts", [{"name": "a", "rows": 1}], r"broken at parts\.0\.bytes"),
        ("parts", [{"name": "a", "rows": 5, "bytes": 1, "sha256": "", "split": "x"}], "split"),
        ("colour", "red", "broken at colour"),
    ],
)
def test_a_broken_manifest_says_where(key: str, value: object, message: str) -> None:
    plain = json.loads(EXAMPLE.to_json())
    plain[key] = value
    with pytest.raises(StorageError, match=message):
        Manifest.from_json(json.dumps(plain), NOWHERE)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_object_is_a_storage_error(text: bytes) -> None:
    with pytest.raises(StorageError, match="manifest is broken"):
        Manifest.from_json(text, NOWHERE)


def test_where_nothing_was_packed_the_command_is_named(place: str) -> None:
    with pytest.raises(StorageError, match=r"pack them first: kintsugi shards --input"):
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


def test_bits_that_flip_on_the_way_are_read_again(
    shards: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part = read_manifest(shards).parts[0]
    whole = shards.read(part.name)
    answers = [whole[:-1] + bytes([whole[-1] ^ 1]), whole]
    monkeypatch.setattr(Storage, "read", lambda self, name: answers.pop(0))
    assert len(read_part(shards, part)) == 3
    assert answers == []
    assert f"{part.name} has SHA-256" in caplog.text


def test_a_bit_flipped_anywhere_is_found(shards: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    part = read_manifest(shards).parts[0]
    whole = shards.read(part.name)
    for position in np.random.default_rng(0).integers(0, 8 * len(whole), 200).tolist():
        data = bytearray(whole)
        data[position // 8] ^= 1 << position % 8
        monkeypatch.setattr(Storage, "read", lambda self, name, data=data: bytes(data))
        with pytest.raises(StorageError, match=f"{part.name} has SHA-256 .*, read twice"):
            read_part(shards, part)


def test_shards_that_changed_places_and_empty_ones_are_found(shards: Storage) -> None:
    first, second = read_manifest(shards).parts
    one, other = shards.read(first.name), shards.read(second.name)
    shards.write(first.name, other)
    shards.write(second.name, one)
    for part in (first, second):
        with pytest.raises(StorageError, match=rf"{part.name} has .*, expected .*, read twice"):
            read_part(shards, part)
    shards.write(first.name, b"")
    with pytest.raises(StorageError, match=f"has 0 bytes, expected {first.bytes}"):
        read_part(shards, first)


def test_a_manifest_that_vouches_for_no_parquet_is_reported(shards: Storage) -> None:
    part = PartInfo("part-00000.parquet", 1, 1, sha256(b"x").hexdigest())
    shards.write(part.name, b"x")
    with pytest.raises(StorageError, match="is no Parquet file"):
        read_part(shards, part)
