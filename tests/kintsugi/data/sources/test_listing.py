"""Photographs from every kind of place give the same shards, and what cannot be one is said."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kintsugi.data.packing import Packing
from kintsugi.data.shard_manifest import MANIFEST_NAME
from kintsugi.data.shard_verify import verify_shards
from kintsugi.data.shard_writer import write_shards
from kintsugi.data.sources.items import Intake, read_intake
from kintsugi.data.splits import is_held_out
from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage import backends
from kintsugi.storage.storage import Storage
from tests.kintsugi.data.sources.collections import (
    WRITERS,
    as_files,
    as_structs,
    as_tars,
    parquet_of,
    structs_of,
    tar_of,
)
from tests.kintsugi.pictures import encode

TRAIN = Path(
    os.environ.get("KINTSUGI_SHARED", Path(__file__).parents[5] / "shared"), "photos/train"
)
PACKING = Packing(rows_per_part=4, held_out_share=0.3)


def noise(number: int) -> bytes:
    rng = np.random.default_rng(number)
    return encode(rng.integers(0, 255, (70 + number, 64, 3), np.uint8), "JPEG")


PHOTOS = {f"{'cat' if n % 2 else 'dog'}/{n:03d}.jpg": noise(n) for n in range(12)} | {
    "cat/broken.jpg": b"no photograph"
}


@pytest.fixture(autouse=True)
def without_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack in this process even if another test has started Ray in it."""
    if "ray" in sys.modules and "local_ray" not in request.fixturenames:
        monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: False)


def digest_of(source: str, target: Storage, packing: Packing = PACKING) -> str:
    """Of the manifest of what a place holds, packed."""
    write_shards(source, target.uri, packing=packing)
    assert verify_shards(target.uri) == []
    assert target.list("unfinished-copies") == []
    return hashlib.sha256(target.read(MANIFEST_NAME)).hexdigest()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the photographs in folders by class."""
    folder = tmp_path_factory.mktemp("expected")
    as_files(PHOTOS, Storage(folder / "photos"))
    with pytest.MonkeyPatch.context() as patch:
        if "ray" in sys.modules:
            patch.setattr(sys.modules["ray"], "is_initialized", lambda: False)
        digest = digest_of(str(folder / "photos"), Storage(folder / "shards"))
    manifest = Storage(folder / "shards").read(MANIFEST_NAME).decode()
    assert "image_format_not_allowed" in manifest
    assert '"split": "held_out"' in manifest
    return digest


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_one_manifest_whatever_they_come_from(expected: str, tmp_path: Path, kind: str) -> None:
    WRITERS[kind](PHOTOS, Storage(tmp_path / "in"))
    assert digest_of(str(tmp_path / "in"), Storage(tmp_path / "out")) == expected


@pytest.mark.parametrize("kind", ["files", "tars", "structs"])
def test_one_manifest_from_object_stores(
    expected: str, cloud: str, tmp_path: Path, kind: str
) -> None:
    WRITERS[kind](PHOTOS, Storage(cloud))
    assert digest_of(cloud, Storage(tmp_path / "out")) == expected


@pytest.mark.parametrize("kind", ["tars", "structs"])
def test_one_manifest_from_s3_into_s3(expected: str, s3_uri: str, kind: str) -> None:
    WRITERS[kind](PHOTOS, Storage(s3_uri).join("in"))
    assert digest_of(f"{s3_uri}/in", Storage(s3_uri).join("out")) == expected


@pytest.mark.ray
@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_one_manifest_from_tasks(expected: str, local_ray: Any, tmp_path: Path, kind: str) -> None:
    WRITERS[kind](PHOTOS, Storage(tmp_path / "in"))
    assert digest_of(str(tmp_path / "in"), Storage(tmp_path / "out")) == expected


@pytest.mark.slow
@pytest.mark.parametrize("place", ["s3", "gs", "az", *sorted(WRITERS)])
def test_two_hundred_photographs_give_one_manifest(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    """Photographs as people took them; the rest of 200 in a folder by class is what is compared."""
    files = sorted(TRAIN.glob("*.jpg"))[:200] if TRAIN.is_dir() else []
    if len(files) < 200:
        pytest.skip(f"no 200 photographs in {TRAIN}: set KINTSUGI_SHARED")
    photos = {f"{file.name.partition('-')[0]}/{file.name}": file.read_bytes() for file in files}
    as_files(photos, Storage(tmp_path / "photos"))
    packing = Packing(rows_per_part=64, held_out_share=0.1)
    first = digest_of(str(tmp_path / "photos"), Storage(tmp_path / "a"), packing)
    source = Storage(tmp_path / "in")
    if place == "s3":
        source = Storage(request.getfixturevalue("s3_uri"))
    elif place in ("gs", "az"):
        request.getfixturevalue({"gs": "google_store", "az": "azure_store"}[place])
        source = Storage(f"{place}://kintsugi-tests/two-hundred")
    WRITERS.get(place, as_tars)(photos, source)
    assert digest_of(source.uri, Storage(tmp_path / "b"), packing) == first


def test_one_file_is_a_source(tmp_path: Path) -> None:
    place = Storage(tmp_path / "in")
    as_tars(PHOTOS, place)
    uri = f"{place.uri}/train/shard-00000.tar"
    assert write_shards(uri, str(tmp_path / "out"), packing=PACKING).rows == len(PHOTOS) // 2
    with pytest.raises(StorageError, match=r"shard-7\.tar"):
        write_shards(f"{place.uri}/train/shard-7.tar", str(tmp_path / "none"))


def test_photographs_by_themselves_come_before_what_else_is_there(tmp_path: Path) -> None:
    place = Storage(tmp_path / "in")
    as_files(PHOTOS, place)
    as_tars({"other.jpg": noise(50)}, place)
    place.write("notes.txt", b"x")
    manifest = write_shards(place.uri, str(tmp_path / "a"), packing=PACKING)
    assert (manifest.rows, manifest.ignored) == (12, 3)
    other = write_shards(place.uri, str(tmp_path / "b"), intake=Intake("tar"))
    assert (other.rows, other.ignored) == (1, 14)


def test_two_kinds_of_files_must_be_chosen_from(tmp_path: Path) -> None:
    place = Storage(tmp_path / "in")
    as_tars(PHOTOS, place)
    place.write("more.parquet", parquet_of(structs_of({"z.jpg": noise(40)})))
    with pytest.raises(ConfigError, match=r"holds Parquet files and tar files: say with --kind"):
        write_shards(place.uri, str(tmp_path / "out"))
    manifest = write_shards(place.uri, str(tmp_path / "out"), intake=Intake("parquet"))
    assert (manifest.rows, manifest.ignored) == (1, 2)


def test_a_kind_that_is_not_there_is_said(tmp_path: Path) -> None:
    place = Storage(tmp_path / "in")
    as_tars(PHOTOS, place)
    with pytest.raises(ConfigError, match=r"no photographs in .* \(2 other files\)"):
        write_shards(place.uri, str(tmp_path / "out"), intake=Intake("lmdb"))
    place = Storage(tmp_path / "packed")
    place.write("all.tar.gz", b"x")
    with pytest.raises(ConfigError, match=r"all\.tar\.gz is compressed.*unpack it to \.tar"):
        write_shards(place.uri, str(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"--kind zip is not known: give one of auto, photos"):
        read_intake("zip", "", "")


def test_the_same_name_twice_is_one_photograph_and_one_reject(tmp_path: Path) -> None:
    place = Storage(tmp_path / "in")
    for number in range(3):
        place.write(f"{number}.tar", tar_of({"same.jpg": noise(number), f"{number}.jpg": noise(9)}))
    manifest = write_shards(place.uri, str(tmp_path / "out"))
    assert manifest.rows == 4
    assert [(reject.id, reject.reason) for reject in manifest.rejects] == [
        ("same.jpg", "name_twice")
    ] * 2
    details = " ".join(reject.detail for reject in manifest.rejects)
    assert "1.tar" in details
    assert "2.tar" in details, "that of the first tar is kept"


def test_guessed_ids_that_repeat_lose_no_photograph(tmp_path: Path) -> None:
    """A number that begins again in each file, a label, a file's name without its class."""
    place = Storage(tmp_path / "in")
    for file, key in (("a", "id"), ("b", "id"), ("c", "name")):
        names: list[object] = [0, 1, 2] if key == "id" else ["cat", "cat", "dog"]
        photos = [noise(3 * "abc".index(file) + n) for n in range(3)]
        place.write(f"{file}.parquet", parquet_of(pa.table({"image": photos, key: names})))
    paths = {"image": [{"bytes": noise(20 + n), "path": "1.jpg"} for n in range(2)]}
    place.write("d.parquet", parquet_of(pa.table(paths)))
    packing = Packing(held_out_share=0.3)
    manifest = write_shards(place.uri, str(tmp_path / "out"), packing=packing)
    assert manifest.rejects == ()
    parts = [pq.read_table(tmp_path / "out" / part.name) for part in manifest.parts]
    ids = sorted(name for part in parts for name in part["id"].to_pylist())
    rows = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2), ("c", 0), ("c", 1)]
    own = [f"{file}/{row:09d}" for file, row in [*rows, ("d", 0), ("d", 1)]]
    assert ids == [*own, "dog"], "what is alone keeps its id"
    for part, table in zip(manifest.parts, parts, strict=True):
        for name in table["id"].to_pylist():
            assert is_held_out(name, 0.3) == (part.split == "held_out")


def test_ids_of_a_column_that_was_named_are_taken_at_their_word(tmp_path: Path) -> None:
    place = Storage(tmp_path / "in")
    table = pa.table({"image": [noise(0), noise(1)], "name": ["cat", "cat"]})
    place.write("a.parquet", parquet_of(table))
    manifest = write_shards(place.uri, str(tmp_path / "out"), intake=Intake(id_column="name"))
    assert manifest.rows == 1
    assert [(each.id, each.reason) for each in manifest.rejects] == [("cat", "name_twice")]


@pytest.mark.parametrize("kind", ["tar", "parquet", "lmdb"])
def test_files_whose_paths_are_no_utf8_are_read(tmp_path: Path, kind: str) -> None:
    place = Storage(os.fsdecode(os.fsencode(tmp_path) + b"/in\xfd"))
    names = [os.fsdecode(name) for name in (b"d\xfe/\xff", b"d\xfe/\xfc")]
    try:
        place.write(f"{names[0]}.txt", b"x")
    except StorageError:
        pytest.skip("the file system takes UTF-8 alone")
    same = {"same.jpg": noise(1), "0.jpg": noise(2)}
    rows = [*(f"d\\udcfe/\\udc{end}/00000000{row}" for end in ("fc", "ff") for row in (0, 1))]
    if kind == "lmdb":
        WRITERS["lmdb"](same, place.join(names[0]))
    for name in names if kind != "lmdb" else ():
        packed = tar_of(same) if kind == "tar" else parquet_of(structs_of(same))
        place.write(f"{name}.{kind}", packed)
    manifest = write_shards(place.uri, str(tmp_path / "out"))
    ids = pq.read_table(tmp_path / "out" / manifest.parts[0].name)["id"].to_pylist()
    assert sorted(ids) == (rows if kind == "parquet" else sorted(same))
    assert len(manifest.rejects) == (2 if kind == "tar" else 0)
    assert all("\\udcff.tar: rename" in reject.detail for reject in manifest.rejects)


def test_half_a_listing_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_files(PHOTOS, Storage(tmp_path / "in"))
    scandir = os.scandir

    def refuse(folder: Any) -> Any:
        if isinstance(folder, Path) and folder.name == "cat":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(backends.os, "scandir", refuse)
    with pytest.raises(StorageError, match=r"cannot list .*in/cat: Permission denied.*half a list"):
        write_shards(str(tmp_path / "in"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


class Killed(Exception):
    """The process ended."""


def kill(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize("kind", ["files", "structs"])
@pytest.mark.parametrize("through", ["in", "in/../in", "link"])
def test_shards_among_photographs_are_not_taken_for_photographs(
    expected: str, tmp_path: Path, kind: str, through: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder of the shards in that of the photographs, of which a first packing was cut off."""
    WRITERS[kind](PHOTOS, Storage(tmp_path / "in"))
    (tmp_path / "link").symlink_to(tmp_path / "in")
    target = Storage(tmp_path / "in" / "shards")
    uri = f"{tmp_path}/{through}"
    with pytest.raises(Killed):
        write_shards(uri, target.uri, packing=PACKING, report=kill)
    assert [name for name in target.list() if name.endswith(".parquet")]
    assert digest_of(uri, target) == expected
    assert "in/shards lies in" in caplog.text
    again = Packing(rows_per_part=4, held_out_share=0.3, overwrite=True)
    assert digest_of(uri, target, again) == expected, "with the shards there"


@pytest.mark.parametrize("kind", ["files", "structs"])
def test_shards_in_the_folder_of_the_photographs_itself_are_refused(
    tmp_path: Path, kind: str
) -> None:
    place = Storage(tmp_path / "in")
    WRITERS[kind](PHOTOS, place)
    before = place.list()
    with pytest.raises(ConfigError, match=r"choose another output, such as .*in/shards"):
        write_shards(place.uri, f"{place.uri}/", packing=PACKING)
    assert place.list() == before


def test_a_neighbour_whose_name_begins_the_same_is_listed(tmp_path: Path) -> None:
    as_files(PHOTOS, Storage(tmp_path / "in" / "shards-of-glass"))
    assert write_shards(str(tmp_path / "in"), str(tmp_path / "in" / "shards")).rows == 12


def test_copies_of_a_packing_that_was_cut_off_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_structs(PHOTOS, Storage(tmp_path / "in"))
    target = Storage(tmp_path / "out")
    with pytest.raises(Killed):
        write_shards(str(tmp_path / "in"), target.uri, packing=PACKING, report=kill)
    assert len([name for name in target.list() if name.endswith("index.parquet")]) == 2
    ranges: list[str] = []
    read_range = Storage.read_range

    def count(self: Storage, name: str, start: int, length: int) -> bytes:
        ranges.append(f"{self.uri}/{name}")
        return read_range(self, name, start, length)

    monkeypatch.setattr(Storage, "read_range", count)
    write_shards(str(tmp_path / "in"), target.uri, packing=PACKING)
    assert ranges
    assert not [name for name in ranges if name.startswith(f"{tmp_path}/in")]
    assert target.list("unfinished-copies") == []
