"""kintsugi.data.sources.spool: an order that is in no memory, of ten million photographs."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from kintsugi.data.packing import Packing, PartPlan
from kintsugi.data.sources.items import Item, Page
from kintsugi.data.sources.spool import Spool, spool
from kintsugi.errors import StorageError

ITEMS = [Item(f"{n % 10}/{n}.jpg", 10 + n, "tar:a.tar" if n % 3 else "", n) for n in range(500)]
PACKING = Packing(rows_per_part=16, held_out_share=0.2)


def plans_of(photos: Spool) -> list[PartPlan]:
    return [photos.plan(index) for index in range(len(photos))]


def test_neither_order_nor_pages_of_the_listing_matter() -> None:
    with spool([Page(ITEMS, ignored=3)], PACKING, seed=1) as photos:
        plans, digest = plans_of(photos), photos.digest("x")
        assert (photos.count, photos.ignored) == (500, 3)
        assert photos.digest("y") != digest
    shuffled = random.Random(0).sample(ITEMS, len(ITEMS))
    pages = [Page(shuffled[at : at + 7], ignored=1) for at in range(0, len(shuffled), 7)]
    with spool(pages, PACKING, seed=1) as photos:
        assert plans_of(photos) == plans
        assert photos.digest("x") == digest
        assert photos.plan(5) == plans[5], "in any order, too"
    assert sorted(item for plan in plans for item in plan.items) == sorted(ITEMS)
    with spool([Page(ITEMS)], PACKING, seed=2) as photos:
        assert plans_of(photos) != plans


@pytest.mark.parametrize("change", ["size", "start", "place", "id"])
def test_whatever_is_another_photograph_has_another_digest(change: str) -> None:
    values: dict[str, object] = {"size": 1, "start": 99, "place": "tar:b.tar", "id": "other.jpg"}
    other = [ITEMS[0]._replace(**{change: values[change]}), *ITEMS[1:]]  # type: ignore[arg-type]
    digests = []
    for items in (ITEMS, other):
        with spool([Page(items)], PACKING, seed=0) as photos:
            digests.append(photos.digest("x"))
    assert digests[0] != digests[1]


def test_a_full_disk_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = "PRAGMA max_page_count = 10; "
    monkeypatch.setattr(
        "kintsugi.data.sources.spool._SETTINGS",
        settings + __import__("kintsugi.data.sources.spool", fromlist=["x"])._SETTINGS,
    )
    with (
        pytest.raises(StorageError, match=r"database or disk is full.*larger disk with TMPDIR"),
        spool([Page(ITEMS)], PACKING, seed=0),
    ):
        pass


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with spool([Page(ITEMS)], PACKING, seed=0):
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


# Ten times as many take no more memory, and minutes.
KEYS = 1_000_000
PROGRAM = """
import sys
from kintsugi.data import shard_writer
from kintsugi.data.packing import Packing
from kintsugi.data.shards.part_lists import PartInfo
from kintsugi.data.unfinished import PartResult
from kintsugi.storage.backends import LocalFolders, Survey
from kintsugi.storage.storage import Storage

def pages(self, path, ask):
    if not path.endswith("photos"):
        return
    for first in range(0, KEYS, 1000):
        numbers = range(first, first + 1000)
        yield Survey({f"{n % 1000:04d}/{n:032d}.jpg": 100_000 for n in numbers}, {})

def pack(work, plan):
    for item in plan.items:
        assert item.size == 100_000
    part = PartInfo(plan.name, len(plan.items), 1, "0" * 64, plan.split)
    return PartResult(part, ())

KEYS = int(sys.argv[2])
LocalFolders.pages = pages
shard_writer._pack = pack
manifest = shard_writer.write_shards(
    sys.argv[1] + "/photos", sys.argv[1] + "/shards", packing=Packing(held_out_share=0.01)
)
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
print(manifest.rows, len(manifest.parts), peak)
"""


@pytest.mark.slow
def test_a_million_keys_take_little_memory(tmp_path: Path) -> None:
    """Listed, ordered and divided among parts, of which none is written: that is another test's."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(KEYS)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    rows, parts, peak = map(int, done.stdout.split())
    assert rows == KEYS
    assert parts >= KEYS // 256
    assert peak <= 240, f"{peak} MiB"
