"""kintsugi.data.sources.parquet_input: which column, which name; every row is one or is listed."""

from pathlib import Path

import pyarrow as pa
import pytest

from kintsugi.data.sources import parquet_input
from kintsugi.data.sources.items import Intake, Page
from kintsugi.data.sources.parquet_input import copy_parquet
from kintsugi.errors import ConfigError, StorageError
from kintsugi.storage.storage import Storage
from tests.kintsugi.data.sources.collections import parquet_of, structs_of

PHOTOS = {f"{n}.jpg": bytes([n]) * (10 + n) for n in range(8)}


def copied(tmp_path: Path, table: pa.Table, intake: Intake = Intake()) -> Page:
    place, data = Storage(tmp_path / "in"), parquet_of(table)
    place.write("d/a.parquet", data)
    return copy_parquet(place, "d/a.parquet", len(data), Storage(tmp_path / "copies"), intake)


def bytes_of(tmp_path: Path, page: Page) -> dict[str, bytes]:
    copies = Storage(tmp_path / "copies")
    return {
        item.id: copies.read_range(item.place.removeprefix("copy:"), item.start, item.size)
        for item in page.items
    }


@pytest.mark.parametrize("most", [1, 25, 2**20])
def test_photographs_lie_where_the_index_says(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_input, "_COPY_BYTES", most)
    page = copied(tmp_path, structs_of(PHOTOS))
    assert bytes_of(tmp_path, page) == PHOTOS
    assert len({item.place for item in page.items}) == {1: 8, 25: 6, 2**20: 1}[most]


@pytest.mark.parametrize(
    ("columns", "intake", "names"),
    [
        ({"image": [b"1", b"2"]}, Intake(), ["d/a/000000000", "d/a/000000001"]),
        ({"image": [b"1", b"2"], "key": ["x", "y"]}, Intake(), ["x", "y"]),
        ({"jpg": [b"1", b"2"], "id": [7, 8]}, Intake(), ["7", "8"]),
        ({"image": [b"1", b"2"], "id": [0.5, 1.5]}, Intake(), ["d/a/000000000", "d/a/000000001"]),
        ({"image": [b"1", b"2"], "id": ["x", "y"], "url": ["u", "v"]}, Intake(id_column="url"),
         ["u", "v"]),
        ({"image": [b"-", b"-"], "crop": [b"1", b"2"]}, Intake(image_column="crop"),
         ["d/a/000000000", "d/a/000000001"]),
        ({"image": [{"bytes": b"1", "path": "p"}, {"bytes": b"2", "path": None}], "id": ["x", "y"]},
         Intake(), ["p", "y"]),
        ({"image": [{"bytes": b"1", "path": "p"}, {"bytes": b"2", "path": "q"}], "id": ["x", "y"]},
         Intake(id_column="id"), ["x", "y"]),
    ],
)  # fmt: skip
def test_which_columns(
    tmp_path: Path, columns: dict[str, list[object]], intake: Intake, names: list[str]
) -> None:
    page = copied(tmp_path, pa.table(columns), intake)
    assert bytes_of(tmp_path, page) == dict(zip(names, (b"1", b"2"), strict=True))


@pytest.mark.parametrize(
    ("columns", "intake", "message"),
    [
        ({"text": ["x"]}, Intake(), r"0 columns that can hold .*of text: name one with --image-c"),
        ({"a": [b"1"], "b": [b"2"]}, Intake(), r"2 columns that can hold photographs \(a, b\)"),
        ({"a": [b"1"]}, Intake(image_column="b"), r"no column b of binaries.*columns are a: name"),
        ({"a": [b"1"]}, Intake(id_column="b"), r"has no column b; its columns are a: .*--id-col"),
    ],
)
def test_columns_that_are_not_there(
    tmp_path: Path, columns: dict[str, list[object]], intake: Intake, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        copied(tmp_path, pa.table(columns), intake)


def test_a_row_without_bytes_is_listed(tmp_path: Path) -> None:
    table = pa.table(
        {"image": [{"bytes": b"1", "path": "a"}, {"bytes": None, "path": "b.jpg"}, None]}
    )
    for _ in range(2):
        page = copied(tmp_path, table)
        assert [item.id for item in page.items] == ["a"]
        assert [(each.id, each.reason) for each in page.rejects] == [
            ("b.jpg", "no_bytes"),
            ("d/a/000000002", "no_bytes"),
        ]


def test_a_file_that_was_cut_short_or_damaged_is_an_error(tmp_path: Path) -> None:
    place, data = Storage(tmp_path / "in"), parquet_of(structs_of(PHOTOS))
    copies = Storage(tmp_path / "copies")
    for bad in (data[:-30], b"PAR1" + b"\xff" * 60 + data[64:]):
        place.write("a.parquet", bad)
        with pytest.raises(StorageError, match=r"cannot read .*in/a\.parquet: .*copy it once more"):
            copy_parquet(place, "a.parquet", len(bad), copies, Intake())
    assert not [name for name in copies.list() if "index" in name]
