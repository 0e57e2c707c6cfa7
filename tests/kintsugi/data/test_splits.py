"""kintsugi.data.splits: the photographs that training never sees are the same everywhere."""

from dataclasses import replace
from pathlib import Path

import pytest

from kintsugi.config.sections import DataSection
from kintsugi.data.packing import Packing
from kintsugi.data.shard_manifest import read_manifest, read_part
from kintsugi.data.shard_reader import open_reader
from kintsugi.data.shard_verify import verify_shards
from kintsugi.data.shard_writer import write_shards
from kintsugi.data.sources.items import Item, Page
from kintsugi.data.sources.spool import spool
from kintsugi.data.splits import HELD_OUT, TRAIN, is_held_out
from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage.storage import Storage
from tests.kintsugi.pictures import photo

NAMES = [f"folder/{index}.jpg" for index in range(20_000)]


def test_the_share_is_met_and_nested() -> None:
    chosen = {share: {n for n in NAMES if is_held_out(n, share)} for share in (0.0, 0.02, 0.1)}
    assert chosen[0.0] == set()
    assert len(chosen[0.02]) == pytest.approx(400, abs=60)
    assert len(chosen[0.1]) == pytest.approx(2000, abs=130)
    assert chosen[0.02] < chosen[0.1]


def test_the_choice_never_changes() -> None:
    # Written down: held-out losses of earlier runs are of these photographs.
    expected = [f"folder/{number}.jpg" for number in (85, 95, 97, 119, 136, 186)]
    assert [n for n in NAMES[:200] if is_held_out(n, 0.02)] == expected


def test_plans_keep_splits_apart_and_training_first() -> None:
    packing = Packing(rows_per_part=7, held_out_share=0.2)
    page = Page([Item(name, 10) for name in NAMES[:100]])
    with spool([page], packing, seed=0) as photos:
        plans = [photos.plan(index) for index in range(len(photos))]
    for plan in plans:
        assert {is_held_out(item.id, 0.2) for item in plan.items} == {plan.split == HELD_OUT}
    splits = [plan.split for plan in plans]
    assert splits == sorted(splits, key=[TRAIN, HELD_OUT].index)
    assert {TRAIN, HELD_OUT} == set(splits)
    assert sorted(item.id for plan in plans for item in plan.items) == sorted(NAMES[:100])
    assert [plan.name for plan in plans] == sorted(plan.name for plan in plans)


def test_a_reader_sees_one_split(tmp_path: Path) -> None:
    for index in range(12):
        Storage(tmp_path / "photos").write(f"{index}.png", photo(64, 64, "PNG"))
    packing = Packing(rows_per_part=3, held_out_share=0.4)
    write_shards(str(tmp_path / "photos"), str(tmp_path / "shards"), packing=packing)
    storage = Storage(tmp_path / "shards")
    assert verify_shards(storage.uri, decode=True) == []
    ids = {
        split: {
            name
            for part in open_reader(storage.uri, 64, split=split).parts
            for name in read_part(storage, part)["id"].to_pylist()
        }
        for split in (TRAIN, HELD_OUT)
    }
    assert ids[HELD_OUT] == {f"{i}.png" for i in range(12) if is_held_out(f"{i}.png", 0.4)}
    assert 0 < len(ids[HELD_OUT]) < 12
    assert ids[TRAIN] == {f"{i}.png" for i in range(12)} - ids[HELD_OUT]
    assert open_reader(storage.uri, 64).parts == open_reader(storage.uri, 64, split=TRAIN).parts
    assert read_manifest(storage).held_out_share == 0.4


def test_a_split_without_photographs_is_reported(tmp_path: Path) -> None:
    Storage(tmp_path / "photos").write("a.png", photo(64, 64, "PNG"))
    write_shards(str(tmp_path / "photos"), str(tmp_path / "shards"))
    with pytest.raises(StorageError, match=r"no photographs of the split held_out: .*--held-out"):
        open_reader(str(tmp_path / "shards"), 64, split=HELD_OUT)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="held-out share of"):
        Packing(held_out_share=share)


def test_photographs_are_packed_with_the_share_of_the_configuration(tmp_path: Path) -> None:
    from kintsugi.train.ray_trainer import ensure_shards

    for index in range(12):
        Storage(tmp_path / "photos").write(f"{index}.png", photo(64, 64, "PNG"))
    asked = DataSection(
        shards=str(tmp_path / "shards"), photos=str(tmp_path / "photos"), held_out_share=0.4
    )
    ensure_shards(asked)
    assert read_manifest(Storage(tmp_path / "shards")).to_dict()["held_out"] > 0
    ensure_shards(asked)
    ensure_shards(replace(asked, held_out_share=0.0))
    with pytest.raises(ConfigError, match=r"held_out_share=0\.2, but the shards at .* hold 0\.4"):
        ensure_shards(replace(asked, held_out_share=0.2))
