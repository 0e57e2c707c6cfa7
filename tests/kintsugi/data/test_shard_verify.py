"""kintsugi.data.shard_verify: whatever is wrong with shards is listed, and nothing else."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kintsugi.data import shard_verify
from kintsugi.data.shard_manifest import MANIFEST_NAME, Manifest, read_manifest, read_part
from kintsugi.data.shard_verify import verify_shards
from kintsugi.data.shards.part_lists import PartInfo
from kintsugi.storage.storage import Storage
from tests.kintsugi.corrupt_shards import replace_rows


def test_whole_shards_have_no_problems(shards: Storage) -> None:
    assert verify_shards(shards.uri) == verify_shards(shards.uri, decode=True) == []


def test_a_photograph_that_does_not_decode_is_found_when_asked(shards: Storage) -> None:
    (photo_id,) = replace_rows(shards, 1, {2: b"no photograph"})
    assert verify_shards(shards.uri) == [], "its bytes are what the manifest says"
    (problem,) = verify_shards(shards.uri, decode=True)
    assert problem.startswith(f"part-00001.parquet: {photo_id} does not decode: ")


def test_a_photograph_in_the_wrong_split_is_found(shards: Storage) -> None:
    manifest = read_manifest(shards)
    claims = replace(manifest, held_out_share=0.999999)
    shards.write(MANIFEST_NAME, claims.to_json().encode())
    problems = verify_shards(shards.uri)
    assert len(problems) == 6
    assert all("is in the split train, where it does not belong" in each for each in problems)


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
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "t")
    data = (tmp_path / "t").read_bytes()
    part = PartInfo("part-00000.parquet", 1, len(data), sha256(data).hexdigest())
    shards.write(part.name, data)
    shards.write(MANIFEST_NAME, Manifest(seed=0, rows=1, parts=(part,)).to_json().encode())
    assert "has the columns ['id']" in verify_shards(shards.uri)[0]


def parts_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which parts are read from now on."""
    read, names = shard_verify.read_part, list[str]()

    def noted(storage: Storage, part: PartInfo) -> pa.Table:
        names.append(part.name)
        return read(storage, part)

    monkeypatch.setattr(shard_verify, "read_part", noted)
    return names


def test_equal_ids_are_found_without_a_list_of_all(
    shards: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = parts_read(monkeypatch)
    order = shard_verify._Order(read_manifest(shards))
    for part in read_manifest(shards).parts:
        ids = read_part(shards, part)["id"].to_pylist()
        assert list(order.repeated(part, [ids[0], *ids])) == [
            f"{part.name}: {ids[0]} is packed twice"
        ]
    assert order._out_of_order == {}
    assert verify_shards(shards.uri) == []
    assert sorted(names) == [part.name for part in read_manifest(shards).parts], "each once"


def test_ids_that_are_not_where_their_hash_says_are_no_problem_by_themselves(
    shards: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(shards)
    turned = replace(manifest, parts=tuple(reversed(manifest.parts)))
    shards.write(MANIFEST_NAME, turned.to_json().encode())
    names = parts_read(monkeypatch)
    assert verify_shards(shards.uri) == []
    assert len(names) == 2 * len(manifest.parts), "looked for in all of them"
