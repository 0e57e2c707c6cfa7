"""Data sets with too many parts for one file read as small ones do, and cost little to start."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kintsugi.config.sections import DataSection
from kintsugi.data import shard_manifest
from kintsugi.data.batches import settings_of
from kintsugi.data.packing import Packing
from kintsugi.data.sampler import Position, Read, SampleOrder
from kintsugi.data.samples import DecodeRead, as_row
from kintsugi.data.shard_manifest import MANIFEST_NAME, Manifest, read_manifest
from kintsugi.data.shard_reader import ShardReader, open_reader
from kintsugi.data.shard_verify import verify_shards
from kintsugi.data.shard_writer import write_shards
from kintsugi.data.shards import part_lists
from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage
from tests.kintsugi.pictures import photo

PACKING = Packing(rows_per_part=2, held_out_share=0.3)


@pytest.fixture
def photos(tmp_path: Path) -> Storage:
    folder = Storage(tmp_path / "photos")
    for index in range(20):
        folder.write(f"{index}.png", photo(64 + index, 64, "PNG"))
    folder.write("broken.png", b"x")
    return folder


@pytest.fixture
def small(photos: Storage, tmp_path: Path) -> Manifest:
    """The same photographs with all parts in one file."""
    return write_shards(photos.uri, str(tmp_path / "small"), packing=PACKING)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts are many, and a list holds three."""
    monkeypatch.setattr(shard_manifest, "MOST_INLINE", 2)
    monkeypatch.setattr(part_lists, "PER_LIST", 3)


@pytest.fixture
def large(photos: Storage, tmp_path: Path, small: Manifest, few: None) -> Storage:
    write_shards(photos.uri, str(tmp_path / "large"), packing=PACKING)
    return Storage(tmp_path / "large")


def test_it_holds_what_one_file_would(small: Manifest, large: Storage) -> None:
    manifest = read_manifest(large)
    assert manifest.version == 3
    assert "part-00000" not in large.read(MANIFEST_NAME).decode()
    assert tuple(manifest.parts) == small.parts
    assert manifest.parts[1:3] == small.parts[1:3]
    for split in (TRAIN, HELD_OUT):
        assert len(manifest.only(split)) > 1
        assert tuple(manifest.only(split)) == small.only(split)
    assert tuple(manifest.rejects) == small.rejects
    assert manifest.to_dict() == small.to_dict()
    assert verify_shards(large.uri) == []


def test_a_task_reads_the_same_photographs_by_it(large: Storage, tmp_path: Path) -> None:
    config = DataSection(shards="unused", crop_px=128, resize_px=128)
    blocks = []
    for uri in (large.uri, str(tmp_path / "small")):
        reader = open_reader(uri, 128, split=HELD_OUT)
        read = reader.locate(Read(0, np.arange(reader.rows_per_part.sum())[::-1]))
        row = {name: np.array([value], object) for name, value in as_row(read).items()}
        task = DecodeRead(reader.of_parts, settings_of(config, seed=0))
        blocks.append([block["key"].to_pylist() for block in task(row)])
    assert blocks[0] == blocks[1]
    assert blocks[0][0]


def everything(storage: Storage) -> tuple[object, ...]:
    manifest = read_manifest(storage)
    return tuple(manifest.parts), tuple(manifest.rejects)


@pytest.mark.parametrize("name", ["rows", "rejects", "list-00001"])
def test_a_flipped_bit_of_any_file_is_named(large: Storage, name: str) -> None:
    file = f"_manifest/{name}.parquet"
    data = bytearray(large.read(file))
    data[len(data) // 2] ^= 1
    large.write(file, bytes(data))
    part_lists._read_list.cache_clear()
    with pytest.raises(StorageError, match=f"{file} is not what the manifest names"):
        everything(large)
    if name != "rejects":
        assert any(file in problem for problem in verify_shards(large.uri))


def test_rows_of_another_manifest_are_refused(large: Storage) -> None:
    plain = json.loads(large.read(MANIFEST_NAME))
    large.write(MANIFEST_NAME, json.dumps(plain | {"train_parts": 1}).encode())
    with pytest.raises(StorageError, match="manifest is broken: it has the rows of"):
        read_manifest(large)
    large.write(MANIFEST_NAME, json.dumps(plain | {"colour": "red"}).encode())
    with pytest.raises(StorageError, match="broken at colour"):
        read_manifest(large)


def test_packed_anew_with_fewer_parts_no_list_is_left(photos: Storage, large: Storage) -> None:
    write_shards(photos.uri, large.uri, packing=Packing(rows_per_part=99, overwrite=True))
    assert read_manifest(large).version == 2
    assert not [name for name in large.list() if "list" in name]


PARTS, HELD_OUT_PARTS = 4_000_000, 40_000
PROGRAM = """
import sys
import numpy as np
from itertools import islice
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.samples import as_row
from kintsugi.data.shard_reader import open_reader
from kintsugi.storage.storage import Storage

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))

before, read = peak(), []
plain = Storage.read
Storage.read = lambda self, name: read.append(name) or plain(self, name)
reader = open_reader(sys.argv[1], 64)
order = SampleOrder(reader.rows_per_part, 0, shuffle_parts=4, workers=64, batch_size=16)
position = order.advance(Position(epoch=3), 12_345_678)
rows = [as_row(reader.locate(each)) for each in islice(next(order.reads(position, 63)), 3)]
print(peak() - before, len(read), len(rows))
"""


# What a submission does with the manifest before any rank is started; its networks are as small as
# any.
DRIVER = (
    PROGRAM.partition("before, read")[0]
    + """
from pathlib import Path
from kintsugi.config.run_config import load_config
from kintsugi.runs.run import open_encoder
from kintsugi.runs.warm_start import check_run

config = load_config(Path(sys.argv[2]), [
    f"storage={sys.argv[1]}/runs", f"data.shards={sys.argv[1]}", "encoder=random",
    "data.photos=''", "held_out.photos=8",
])
open_encoder("random", 0)
before = peak()
check_run(config)
print(peak() - before)
"""
)


def describe_parts(folder: Path) -> str:
    """A manifest of PARTS parts, none of which is there. Returns: the folder."""
    storage = Storage(folder)
    counts = np.full(PARTS, 256, np.int32)
    counts[::7] = 200
    rows = part_lists._write(storage, part_lists._ROWS_NAME, part_lists.pa.table({"rows": counts}))
    digests = {
        "rows": rows,
        "rejects": "",
        "lists": ["0" * 64] * (PARTS // part_lists.PER_LIST + 1),
    }
    plain = {"seed": 0, "rows": int(counts.sum()), "train_parts": PARTS - HELD_OUT_PARTS}
    plain |= {"held_out_parts": HELD_OUT_PARTS, "version": 3, "num_rejects": 0, "digests": digests}
    storage.write(MANIFEST_NAME, json.dumps(plain).encode())
    return storage.uri


@pytest.mark.slow
def test_four_million_parts_cost_the_driver_little(tmp_path: Path) -> None:
    config = Path(__file__).parents[4] / "jobs" / "configs" / "debug-stage1.toml"
    command = [sys.executable, "-c", DRIVER, describe_parts(tmp_path), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 200


def test_four_million_parts_cost_a_rank_little(tmp_path: Path) -> None:
    """Of a billion photographs: memory of a process of its own, files read, bytes for a task."""
    command = [sys.executable, "-c", PROGRAM, describe_parts(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mebibytes, files, reads = map(int, done.stdout.split())
    assert mebibytes <= 200
    assert (files, reads) == (2, 3), "the manifest and the rows: no list"


def test_a_task_is_given_less_than_ten_kilobytes() -> None:
    counts = np.full(PARTS, 256, np.int32)
    lists = part_lists.PartLists(Storage("/nowhere"), counts, ["0" * 64] * 4000, train=PARTS)
    reader = ShardReader("/nowhere", lists, 64)
    order = SampleOrder(reader.rows_per_part, 0, shuffle_parts=4, workers=64, batch_size=16)
    for read in itertools.islice(next(order.reads(Position(), 9)), 3):
        row = as_row(reader.locate(read))
        assert len(row["part"]) + len(row["row"]) + len(row["parts"]) <= 10_000
