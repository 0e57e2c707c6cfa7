"""kintsugi.storage.storage: the same on a folder and on a real S3 server."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from kintsugi.errors import ConfigError, StorageError
from kintsugi.servers.object_store import Endpoint
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage, file_at

ONCE = Retry(tries=1)


def test_what_is_written_is_read_and_listed(place: str) -> None:
    storage = Storage(place)
    assert storage.list() == []
    assert not storage.exists("b/c d+e%20#?.txt")
    files = {"a": b"", "b/c d+e%20#?.txt": b"\0\xff", "b/d/e": b"deep", "bb": b"2"}
    for name, data in files.items():
        storage.write(name, data)
    assert {name: storage.read(name) for name in files} == files
    assert storage.list() == sorted(files)
    assert storage.sizes() == {name: len(data) for name, data in files.items()}
    # The folder `b` only, not all that starts with the letter.
    assert storage.list("b") == ["b/c d+e%20#?.txt", "b/d/e"]
    assert storage.exists("a")
    assert storage.exists("b")
    assert not storage.exists("c")


def test_writing_replaces_and_deleting_is_idempotent(place: str) -> None:
    storage = Storage(place)
    storage.write("x/a", b"old and longer")
    storage.write("x/a", b"new")
    assert storage.read("x/a") == b"new"
    storage.write("x/y/b", b"")
    storage.write("xx", b"")
    storage.delete("x/a")
    storage.delete("x/a")
    assert storage.list() == ["x/y/b", "xx"]
    storage.delete_folder("x")
    storage.delete_folder("x")
    assert storage.list() == ["xx"]
    with pytest.raises(StorageError, match="refused to delete all"):
        storage.delete_folder("")


@pytest.mark.slow
def test_a_file_as_large_as_a_shard(place: str) -> None:
    data = os.urandom(2**20) * 33
    Storage(place).write("large", data)
    assert Storage(place).read("large") == data


def test_an_empty_object_that_marks_a_folder_is_no_file(
    object_store: Endpoint, s3_uri: str
) -> None:
    storage = Storage(s3_uri)
    storage.write("photos/a", b"1")
    client = storage._backend._s3()  # type: ignore[attr-defined]
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    client.call_s3("put_object", Bucket=bucket, Key=f"{prefix}/photos/empty/", Body=b"")
    assert storage.list() == ["photos/a"]


def test_join_names_a_place_below(place: str) -> None:
    storage = Storage(place).join("a", "b/")
    assert storage.uri == f"{Storage(place).uri}/a/b"
    storage.write("c", b"1")
    assert Storage(place).read("a/b/c") == b"1"


def test_what_is_missing_is_named(place: str) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*nothing/here.*check the"):
        Storage(place).read("nothing/here")


def test_names_stay_inside(place: str) -> None:
    for name in ("../outside", "a/../../outside", "/etc/passwd"):
        with pytest.raises(StorageError, match="leads out of"):
            Storage(place).read(name)


def test_it_travels_by_its_uri(place: str) -> None:
    storage = Storage(place, retry=ONCE)
    storage.write("a", b"1")
    sent = pickle.dumps(storage)
    assert b"secret" not in sent
    assert pickle.loads(sent).read("a") == b"1"  # noqa: S301
    assert pickle.loads(sent)._retry == ONCE  # noqa: S301


def test_it_works_in_many_threads_and_after_a_fork(place: str) -> None:
    storage = Storage(place)
    storage.write("0", b"")
    threads = [threading.Thread(target=storage.write, args=(str(i), b"x")) for i in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = multiprocessing.get_context("fork").Process(target=storage.write, args=("9", b""))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert len(storage.list()) == 10


def test_a_second_place_is_opened_quickly(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_again(*_: object) -> None:
        raise AssertionError("botocore's descriptions are read for each client")

    assert Storage(s3_uri).list() == []
    monkeypatch.setattr("botocore.loaders.JSONFileLoader.load_file", read_again)
    assert Storage(s3_uri).list() == []


def test_publishing_writes_the_mark_last(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    (local / "sub").mkdir(parents=True)
    for name in ("a", "manifest.json", "sub/z"):
        (local / name).write_bytes(name.encode())
    written: list[str] = []
    write = Storage.write
    monkeypatch.setattr(
        Storage, "write", lambda self, name, data: written.append(name) or write(self, name, data)
    )
    Storage(place).publish_folder(local, "run/one", last="manifest.json")
    assert written == ["a", "sub/z", "manifest.json"]
    Storage(place).fetch_folder("run/one", tmp_path / "fetched")
    fetched = {p.relative_to(tmp_path / "fetched").as_posix(): p.read_bytes()
               for p in (tmp_path / "fetched").rglob("*") if p.is_file()}  # fmt: skip
    assert fetched == {name: name.encode() for name in written}


def test_publishing_again_takes_the_mark_away_first(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "mark"):
        (tmp_path / name).write_bytes(b"")
    Storage(place).publish_folder(tmp_path, "x", last="mark")

    def fail(self: Storage, name: str, data: bytes) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Storage, "write", fail)
    with pytest.raises(StorageError, match="full"):
        Storage(place).publish_folder(tmp_path, "x", last="mark")
    assert Storage(place).list("x") == ["x/a"]


def test_publishing_without_the_mark_and_fetching_nothing(place: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"has no manifest\.json"):
        Storage(place).publish_folder(tmp_path, "x", last="manifest.json")
    with pytest.raises(StorageError, match=r"nothing at .*x: check the URI"):
        Storage(place).fetch_folder("x", tmp_path)


def test_arrow_reads_and_writes_the_same_files(place: str) -> None:
    storage = Storage(place).join("arrow")
    filesystem, path = storage.arrow_filesystem()
    filesystem.create_dir(path, recursive=True)
    table = pa.table({"a": [1, 2]})
    pq.write_table(table, f"{path}/t.parquet", filesystem=filesystem)
    assert storage.list() == ["t.parquet"]
    assert pq.read_table(pa.BufferReader(storage.read("t.parquet"))) == table
    # Ray sends it to workers.
    again = pickle.loads(pickle.dumps(filesystem))  # noqa: S301
    assert again.get_file_info(f"{path}/t.parquet").type == fs.FileType.File
    storage.delete("t.parquet")


def test_uris_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Storage("a/b").uri == str(tmp_path / "a/b")
    assert Storage("~/a").uri == "/home/somebody/a"
    assert Storage(tmp_path / "a").uri == str(tmp_path / "a")
    assert Storage(f"file://{tmp_path}/a%20b").uri == f"{tmp_path}/a b"
    assert Storage("s3://bucket/a//b/").uri == "s3://bucket/a/b"
    assert Storage("s3://bucket").join("a").uri == "s3://bucket/a"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "is empty"),
        ("ftp://bucket/x", "ftp:// in ftp://bucket/x is not known: use a path"),
        ("file://host/x", "file:// in file://host/x"),
        ("s3:///x", "names no bucket"),
        ("s3://key:word@bucket/x", "holds no credentials"),
    ],
)
def test_uris_that_name_no_place(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Storage(uri)
    assert "word" not in str(caught.value)


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    storage.write("a", b"old")

    def interrupt(descriptor: int) -> None:
        assert storage.list() == ["a"], "a file that is being written is not listed"
        assert storage.read("a") == b"old"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write("a", b"new")
    assert storage.read("a") == b"old"
    assert os.listdir(tmp_path) == ["a"], "nothing is left behind"
    monkeypatch.undo()
    with (tmp_path / "a").open("rb") as reading:
        storage.write("a", b"new")
        assert reading.read() == b"old"


def test_a_file_that_is_replaced_stays_as_private_as_it_was(tmp_path: Path) -> None:
    here = Storage(tmp_path)
    here.write("a", b"old")
    (tmp_path / "a").chmod(0o600)
    (tmp_path / "link").symlink_to("a")
    here.write("link", b"new")
    here.write("a", b"new")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"a": 0o600, "link": 0o600}
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(StorageError, match="it is a pipe, and no file: name a file"):
            Storage(tmp_path).write(name, b"x")
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_places_are_compared_by_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "out").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path / "photos")
    photos = Storage(".")
    for inside in ("out", "../x/../photos/new", "../link/new/below", f"file://{tmp_path}/link/"):
        assert Storage(inside).lies_in(photos), inside
    for outside in ("..", "../filled", "../x", "../photos2"):
        assert not Storage(outside).lies_in(photos), outside
    assert Storage("../link/../photos/out/..").is_same_place(photos)
    assert not Storage("out").is_same_place(photos)
    assert Storage("s3://shop/photos/out").lies_in(Storage("s3://shop/photos/"))
    assert not Storage("s3://shop/photos2").lies_in(Storage("s3://shop/photos"))
    assert not Storage("/shop/photos").lies_in(Storage("s3://shop/photos"))


def test_only_what_was_abandoned_is_swept(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.write("a/whole", b"1")
    old, fresh = (tmp_path / "a" / f".{each * 16}.1-1.partial" for each in "ab")
    download = tmp_path / "a" / "film.partial"
    for file in (old, fresh, download, tmp_path / "a" / "whole"):
        file.write_bytes(b"1")
    for file in (old, download, tmp_path / "a" / "whole"):
        os.utime(file, (0, 0))
    storage.sweep()
    left = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert left == [fresh.name, download.name, "whole"]
    Storage(tmp_path / "nothing").sweep()


def test_names_of_255_bytes_are_written_and_longer_ones_named(tmp_path: Path) -> None:
    there = Storage(tmp_path)
    for name in ("b" * 251 + ".png", "\u00e4" * 125 + ".png"):
        there.write(name, b"x")
        assert there.read(name) == b"x"
    with pytest.raises(StorageError, match="255 bytes"):
        there.write("b" * 256, b"x")


def test_a_file_where_a_folder_must_be_is_named_at_once(tmp_path: Path) -> None:
    there = Storage(tmp_path)
    there.write("a", b"x")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        there.write("a/b.png", b"x")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        there.read("a/b.png")


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Rights count, which they do not for root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_half_a_listing_is_an_error_and_a_survey_names_what_is_locked(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    there = Storage(tmp_path)
    for name in ("a.png", "locked/b.png", "open/c.png"):
        there.write(name, b"x")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.stat().st_mode & 0o77 == 0:
            folder.chmod(0o755)
    (tmp_path / "locked").chmod(0)
    request.getfixturevalue("as_nobody")
    found = there.survey()
    assert set(found.sizes) == {"a.png", "open/c.png"}
    assert set(found.unreadable) == {"locked"}
    with pytest.raises(StorageError, match=r"cannot list .*/locked: Permission denied"):
        there.list()


def test_linked_folders_are_listed_once_and_links_to_nothing_are_named(tmp_path: Path) -> None:
    there = Storage(tmp_path / "here")
    there.write("a.png", b"x")
    Storage(tmp_path / "other").write("b.png", b"xy")
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "here" / "circle").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "gone.png").symlink_to(tmp_path / "nothing")
    assert there.sizes() == {"a.png": 1, "gone.png": 0, "linked/b.png": 2}
    with pytest.raises(StorageError, match="No such file"):
        there.read("gone.png")


def test_a_files_uri_is_its_folder_and_its_name(tmp_path: Path) -> None:
    (tmp_path / "my photos").mkdir()
    (tmp_path / "my photos" / "a b.png").write_bytes(b"x")
    (tmp_path / "a%20b.png").write_bytes(b"y")
    for uri, data in (
        (f"file://{tmp_path}/my%20photos/a%20b.png", b"x"),
        (f"{tmp_path}/my photos/a b.png", b"x"),
        (f"{tmp_path}/a%20b.png", b"y"),
    ):
        folder, name = file_at(uri)
        assert folder.read(name) == data
    assert file_at("s3://bucket/a%20b.png")[1] == "a%20b.png"
    for uri in ("photos/", "file:///photos/", "file://elsewhere/a.png"):
        with pytest.raises(ConfigError):
            file_at(uri)
