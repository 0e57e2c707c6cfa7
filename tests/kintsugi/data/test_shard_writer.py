"""kintsugi.data.shard_writer: every kind of input is packed or listed, the same way each time."""

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kintsugi.data import shard_writer
from kintsugi.data.packing import Packing, PartPlan
from kintsugi.data.shard_manifest import MANIFEST_NAME, Manifest, read_manifest, read_part
from kintsugi.data.shard_verify import verify_shards
from kintsugi.data.shard_writer import PartResult, read_packed, write_shards
from kintsugi.data.sources.items import Item, Page
from kintsugi.data.sources.source_record import RECORD_NAME
from kintsugi.data.sources.spool import spool
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.imaging.codec import ImageLimits, decode_image
from kintsugi.storage.storage import Storage
from tests.kintsugi.pictures import cmyk_photo, encode, gradient, photo, png16, rotated_photo

GOOD = {
    "plain.jpg": photo(),
    "sub/deep/plain.PNG": photo(format="PNG"),
    "cmyk.jpg": cmyk_photo(),
    "grey.png": encode(gradient()[:, :, 0]),
    "turned.jpeg": rotated_photo(6),
    "grey16.tif": encode((gradient()[:, :, 0].astype(np.uint16) * 257), "TIFF"),
    "colour16.png": png16(gradient().astype(np.uint16) * 257),
    "alpha.webp": encode(np.dstack([gradient(), gradient()[:, :, 0]]), "WEBP"),
    "palette.png": encode(Image.fromarray(gradient()).convert("P")),
    "a photo with + and %20 and \u00e9.tiff": photo(format="TIFF"),
    # The first of its frames is the photograph.
    "frames.png": photo(format="PNG", save_all=True, append_images=[Image.new("RGB", (64, 96))]),
}
BAD = {
    "cut.jpg": (photo()[:-300], "image_undecodable"),
    "empty.png": (b"", "image_empty_file"),
    "text.jpg": (b"this is no photograph", "image_format_not_allowed"),
    "tiny.png": (photo(64, 63, "PNG"), "image_too_small"),
    "huge.png": (photo(300, 200, "PNG"), "image_too_many_pixels"),
}
OTHER = {"notes.txt": b"x", "sub/._plain.PNG": b"x", "LICENSE": b""}
LIMITS = ImageLimits(max_pixels=20_000, min_side=64)


@pytest.fixture(autouse=True)
def without_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack in this process even if another test has started Ray in it."""
    if "ray" in sys.modules and "local_ray" not in request.fixturenames:
        monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: False)


@pytest.fixture
def photos(place: str) -> Storage:
    """Photographs of every kind, good and bad, in a folder and in a bucket."""
    storage = Storage(place).join("photos")
    bad = {name: data for name, (data, _) in BAD.items()}
    for name, data in {**GOOD, **bad, **OTHER}.items():
        storage.write(name, data)
    return storage


@pytest.fixture
def few(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "few")
    for index in range(10):
        storage.write(f"{index}.png", photo(64, 64 + index, "PNG"))
    return storage


def rows_of(storage: Storage) -> Iterator[dict[str, object]]:
    for part in read_manifest(storage).parts:
        yield from read_part(storage, part).to_pylist()


@pytest.mark.slow
def test_every_kind_of_input_is_packed_or_listed(place: str, photos: Storage) -> None:
    target = Storage(place).join("shards")
    packing = Packing(rows_per_part=4, limits=LIMITS)
    manifest = write_shards(photos.uri, target.uri, packing=packing)
    assert read_manifest(target) == manifest
    rows = {row["id"]: row for row in rows_of(target)}
    assert rows.keys() == GOOD.keys()
    assert manifest.rows == len(GOOD)
    assert manifest.ignored == len(OTHER)
    assert {reject.id: reject.reason for reject in manifest.rejects} == {
        name: reason for name, (_, reason) in BAD.items()
    }
    assert all(reject.detail for reject in manifest.rejects)
    for name, row in rows.items():
        assert row["image"] == GOOD[str(name)], "the bytes as they came"
        size = decode_image(GOOD[str(name)]).pixels.shape[:2]
        assert (row["height"], row["width"]) == size
    assert (rows["turned.jpeg"]["height"], rows["turned.jpeg"]["width"]) == (64, 96)
    assert verify_shards(target.uri) == []


def test_the_same_input_gives_the_same_files(few: Storage, tmp_path: Path) -> None:
    first = write_shards(few.uri, str(tmp_path / "a"), packing=Packing(rows_per_part=4))
    second = write_shards(few.uri, str(tmp_path / "b"), packing=Packing(rows_per_part=4))
    assert first == second
    other = write_shards(few.uri, str(tmp_path / "c"), seed=1, packing=Packing(rows_per_part=4))
    assert [part.rows for part in other.parts] == [4, 4, 2]
    ids = [[row["id"] for row in rows_of(Storage(tmp_path / name))] for name in "abc"]
    assert ids[0] == ids[1] != ids[2]
    assert sorted(ids[0]) == sorted(ids[2]) != ids[0], "the order is shuffled"


def planned(sizes: dict[str, int], packing: Packing) -> list[PartPlan]:
    with spool([Page([Item(*each) for each in sizes.items()])], packing, seed=0) as photos:
        return [photos.plan(index) for index in range(len(photos))]


def ids_of(plan: PartPlan) -> list[str]:
    return [item.id for item in plan.items]


def test_parts_are_bounded_by_rows_and_by_bytes() -> None:
    sizes = {f"{index:03d}": 10 + index for index in range(100)} | {"large": 5000}
    packing = Packing(rows_per_part=7, max_part_bytes=300)
    plans = planned(sizes, packing)
    assert sorted(name for plan in plans for name in ids_of(plan)) == sorted(sizes)
    assert [plan.name for plan in plans[:2]] == ["part-00000.parquet", "part-00001.parquet"]
    for plan in plans:
        assert len(plan.items) <= 7
        assert ids_of(plan) == ["large"] or sum(item.size for item in plan.items) <= 300
    without = {name: size for name, size in sizes.items() if name != "050"}
    order = [name for plan in plans for name in ids_of(plan) if name != "050"]
    again = [name for plan in planned(without, packing) for name in ids_of(plan)]
    assert order == again, "one photograph less does not reorder the others"


def test_a_part_is_readable_as_plain_parquet(few: Storage, tmp_path: Path) -> None:
    write_shards(few.uri, str(tmp_path / "shards"))
    file = pq.ParquetFile(tmp_path / "shards" / "part-00000.parquet")
    assert file.schema_arrow.names == ["id", "image", "height", "width"]
    data = file.read().column("image")[0].as_py()
    assert Image.open(io.BytesIO(data)).format == "PNG"


def test_shards_that_are_there_are_not_touched_unless_asked(few: Storage, tmp_path: Path) -> None:
    target = Storage(tmp_path / "shards")
    small = Packing(rows_per_part=2)
    assert len(write_shards(few.uri, target.uri, packing=small).parts) == 5
    with pytest.raises(ConfigError, match=r"holds shards already: .*--overwrite"):
        write_shards(few.uri, target.uri)
    assert len(read_manifest(target).parts) == 5
    write_shards(few.uri, target.uri, packing=Packing(overwrite=True))
    assert target.list() == [MANIFEST_NAME, "part-00000.parquet", RECORD_NAME], "old parts are gone"
    assert verify_shards(target.uri) == []


def test_shards_of_other_photographs_or_of_another_share_are_refused(
    few: Storage, tmp_path: Path
) -> None:
    target = Storage(tmp_path / "shards")
    manifest = write_shards(few.uri, target.uri, packing=Packing(held_out_share=0.2))
    assert read_packed(target) == manifest
    few.write(".hidden.jpg", b"")
    few.write("notes.txt", b"other files are none of it")
    assert read_packed(target, photos=few.uri, held_out_share=0.2) == manifest
    with pytest.raises(ConfigError, match=r"a share of 0\.2 out, not 0\.3"):
        read_packed(target, photos=few.uri, held_out_share=0.3)
    few.write("new.jpg", photo(64, 64))
    with pytest.raises(ConfigError, match="of other photographs"):
        read_packed(target, photos=few.uri, held_out_share=0.2)
    # What was packed before says nothing of its source, and what others packed is not of it.
    target.write(MANIFEST_NAME, target.read(MANIFEST_NAME) + b"\n")
    assert read_packed(target, photos=few.uri).rows == manifest.rows
    target.delete(RECORD_NAME)
    assert read_packed(target, photos=few.uri).rows == manifest.rows


def while_listing(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Something happens while the first listing from now on goes on."""
    listed, left = shard_writer.list_photos, [meanwhile]

    def slow(*arguments: Any) -> Iterator[Page]:
        if left:
            left.pop()()
        yield from listed(*arguments)

    monkeypatch.setattr(shard_writer, "list_photos", slow)


def test_shards_that_are_finished_during_a_listing_are_not_touched(
    few: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, target = Storage(tmp_path / "others"), Storage(tmp_path / "shards")
    others.write("other.jpg", photo(64, 64))
    finished = list[Manifest]()
    while_listing(monkeypatch, lambda: finished.append(write_shards(few.uri, target.uri)))
    with pytest.raises(ConfigError, match="holds shards already"):
        write_shards(others.uri, target.uri)
    assert read_manifest(target) == finished[0]
    assert verify_shards(target.uri) == []
    # Two runs that name the same photographs: the second takes what the first has packed.
    target = Storage(tmp_path / "of both")
    while_listing(monkeypatch, lambda: finished.append(write_shards(few.uri, target.uri)))
    assert write_shards(few.uri, target.uri) == finished[1]


def test_a_packing_whose_folder_is_taken_over_writes_no_more(few: Storage, tmp_path: Path) -> None:
    others, target = Storage(tmp_path / "others"), Storage(tmp_path / "shards")
    others.write("other.jpg", photo(64, 64))
    packing = Packing(rows_per_part=2)

    def meanwhile(result: PartResult, done: int, total: int) -> None:
        if done == 2:
            write_shards(others.uri, target.uri, packing=replace(packing, overwrite=True))

    with pytest.raises(ConfigError, match="was taken over by a packing"):
        write_shards(few.uri, target.uri, packing=packing, report=meanwhile)
    assert [row["id"] for row in rows_of(target)] == ["other.jpg"]
    assert verify_shards(target.uri) == []


def test_an_interrupted_writing_leaves_no_manifest(
    few: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Storage(tmp_path / "shards")
    packing = Packing(rows_per_part=2)
    write_shards(few.uri, target.uri, packing=packing)

    def stop(result: PartResult, done: int, total: int) -> None:
        assert (done, total) == (1, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(
            few.uri, target.uri, seed=1, packing=replace(packing, overwrite=True), report=stop
        )
    assert not target.exists(MANIFEST_NAME)
    write_shards(few.uri, target.uri, seed=2)
    assert verify_shards(target.uri) == []
    assert target.list() == [MANIFEST_NAME, "part-00000.parquet", RECORD_NAME], "old parts are gone"


@pytest.mark.parametrize("name", ["part-00000-abc.snappy.parquet", "part-00007.parquet"])
def test_parts_of_another_program_are_refused(name: str, few: Storage, tmp_path: Path) -> None:
    target = Storage(tmp_path / "theirs")
    target.write(name, b"theirs")
    with pytest.raises(ConfigError, match=r"/theirs holds 1 Parquet files .*--overwrite"):
        write_shards(few.uri, target.uri)
    assert target.list() == [name]


def test_only_what_is_named_as_we_name_it_is_deleted(few: Storage, tmp_path: Path) -> None:
    target = Storage(tmp_path / "shards")
    others = ["part-00000-abc.snappy.parquet", "part-1.parquet", "sub/part-00008.parquet"]
    for name in [*others, "part-00009.parquet"]:
        target.write(name, b"theirs")
    write_shards(few.uri, target.uri, packing=Packing(overwrite=True))
    assert target.list() == sorted([MANIFEST_NAME, "part-00000.parquet", RECORD_NAME, *others])


def test_nothing_is_lost_for_photographs_that_cannot_be_used(few: Storage, tmp_path: Path) -> None:
    target = Storage(tmp_path / "shards")
    write_shards(few.uri, target.uri, packing=Packing(rows_per_part=2))
    before = target.list()
    Storage(tmp_path / "bad").write("cut.png", b"x")
    with pytest.raises(InvalidInput, match="none of the 1 photographs"):
        write_shards(str(tmp_path / "bad"), target.uri, packing=Packing(overwrite=True))
    assert target.list() == before
    assert verify_shards(target.uri) == []


def test_nothing_to_pack_is_reported(tmp_path: Path) -> None:
    Storage(tmp_path / "in").write("notes.txt", b"x")
    with pytest.raises(ConfigError, match=r"no photographs in .*/in \(1 other files\)"):
        write_shards(str(tmp_path / "in"), str(tmp_path / "out"))
    Storage(tmp_path / "in").write("cut.png", b"x")
    with pytest.raises(InvalidInput, match=r"none of the 1 photographs .* cut\.png: ") as caught:
        write_shards(str(tmp_path / "in"), str(tmp_path / "out"))
    assert caught.value.code == "no_usable_photographs"
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_a_name_that_is_not_unicode_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    Storage(folder).write("good.png", photo(format="PNG"))
    with open(bytes(folder) + b"/caf\xe9.png", "wb") as file:
        file.write(photo(format="PNG"))
    manifest = write_shards(str(folder), str(tmp_path / "out"))
    assert [(reject.id, reject.reason) for reject in manifest.rejects] == [
        ("caf?.png", "name_not_unicode")
    ]
    assert manifest.rows == 1


def test_one_unreadable_file_is_listed_and_a_failing_store_is_not(
    few: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Storage.read

    def fail(self: Storage, name: str) -> bytes:
        if name == "3.png":
            raise StorageError("cannot read 3.png") from cause
        return read(self, name)

    monkeypatch.setattr(Storage, "read", fail)
    cause: OSError = PermissionError()
    manifest = write_shards(few.uri, str(tmp_path / "a"))
    assert [(reject.id, reject.reason) for reject in manifest.rejects] == [
        ("3.png", "image_unreadable")
    ]
    cause = ConnectionResetError()
    with pytest.raises(StorageError):
        write_shards(few.uri, str(tmp_path / "b"))
    assert not (tmp_path / "b" / MANIFEST_NAME).exists()


def test_a_file_over_the_limit_is_listed_and_not_read(
    few: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = few.sizes()
    read: list[str] = []
    limit = sorted(sizes.values())[4]
    whole = Storage.read

    def count(self: Storage, name: str) -> bytes:
        read.append(name)
        return whole(self, name)

    monkeypatch.setattr(Storage, "read", count)
    packing = Packing(limits=replace(LIMITS, max_bytes=limit))
    manifest = write_shards(few.uri, str(tmp_path / "out"), packing=packing)
    large = {name for name, size in sizes.items() if size > limit}
    assert {each.id for each in manifest.rejects} == large
    assert {each.reason for each in manifest.rejects} == {"image_too_large"}
    assert sorted(name for name in read if name in sizes) == sorted(sizes.keys() - large)


@pytest.mark.ray
def test_ray_tasks_write_the_same_files(place: str, photos: Storage, local_ray: Any) -> None:
    here, there = (Storage(place).join(name) for name in ("here", "there"))
    packing = Packing(rows_per_part=4, limits=LIMITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_ray, "is_initialized", lambda: False)
        expected = write_shards(photos.uri, here.uri, packing=packing)
    reports: list[tuple[int, int]] = []
    found = write_shards(
        photos.uri,
        there.uri,
        packing=packing,
        report=lambda result, done, total: reports.append((done, total)),
    )
    assert found == expected
    assert reports == [(index + 1, len(reports)) for index in range(len(reports))]
    assert here.list() == there.list()


@pytest.mark.ray
def test_an_error_in_a_ray_task_is_reported_without_rays_trace(
    few: Storage, local_ray: Any
) -> None:
    with pytest.raises(StorageError, match="cannot write") as caught:
        write_shards(few.uri, "/proc/no/such/folder", packing=Packing(rows_per_part=2))
    assert "Traceback" not in str(caught.value)
