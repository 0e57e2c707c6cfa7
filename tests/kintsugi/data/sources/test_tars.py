"""kintsugi.data.sources.tars: which members of a tar are photographs, and where; none is lost."""

import io
import tarfile
from pathlib import Path

import pytest

from kintsugi.data.sources.items import Page
from kintsugi.data.sources.tars import index_tar
from kintsugi.errors import StorageError
from kintsugi.storage import range_file
from kintsugi.storage.storage import Storage
from tests.kintsugi.data.sources.collections import tar_of

LONG = 80 * "f" + "/" + 90 * "n" + ".jpg"


def indexed(tmp_path: Path, data: bytes) -> Page:
    place = Storage(tmp_path)
    place.write("a.tar", data)
    return index_tar(place, "a.tar", len(data))


def found(tmp_path: Path, data: bytes) -> dict[str, bytes]:
    return {
        item.id: data[item.start : item.start + item.size] for item in indexed(tmp_path, data).items
    }


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("window", [512, 3000, 2**22])
def test_bytes_lie_where_the_index_says(
    tmp_path: Path, format: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_file, "_WINDOW_BYTES", window)
    files = {LONG: b"1" * 700, "b.jpg": b"2", "d/e.png": b"3" * 5000, "é.webp": b"4" * 512}
    assert found(tmp_path, tar_of(files, format)) == files


def test_a_sample_has_one_photograph(tmp_path: Path) -> None:
    files = {
        "0.jpg": b"photo",
        "0.json": b"{}",
        "0.seg.png": b"not this",
        "1.cls": b"7",
        "1.in.png": b"this",
        "2.jpg": b"first",
        "2.png": b"second",
        "sub/2.jpg": b"another folder's",
        "._3.jpg": b"hidden",
        "./4.JPG": b"here",
    }
    page = indexed(tmp_path, tar_of(files))
    assert [item.id for item in page.items] == ["0.jpg", "1.in.png", "2.jpg", "sub/2.jpg", "4.JPG"]
    assert [(each.id, each.reason) for each in page.rejects] == [("2.png", "second_of_sample")]
    assert page.ignored == 4


def test_a_link_is_a_reject_and_a_folder_is_nothing(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/a.jpg", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "elsewhere.jpg"
            tar.addfile(member)
    page = indexed(tmp_path, buffer.getvalue())
    assert (page.items, page.ignored) == ([], 0)
    assert [(each.id, each.reason) for each in page.rejects] == [("d/a.jpg", "no_file")]


def sparse(name: str, form: str) -> bytes:
    """A member as GNU tar --sparse writes it: a million bytes, of which 512 are stored."""
    member = tarfile.TarInfo(name)
    member.size = 512
    if form == "pax":
        member.pax_headers = {"GNU.sparse.map": "0,512", "GNU.sparse.size": "1000000"}
        return member.tobuf(tarfile.PAX_FORMAT) + b"x" * 512
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 512)
    header[483:495] = b"%011o\0" % 1_000_000
    header[148:155] = b"%06o\0" % tarfile.calc_chksums(bytes(header))[0]  # type: ignore[attr-defined]
    return bytes(header) + b"x" * 512


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_member_is_a_reject_and_no_damage(tmp_path: Path, form: str) -> None:
    data = tar_of({"a.jpg": b"1" * 1024})[: 512 + 1024] + sparse("b.jpg", form)
    page = indexed(tmp_path, data + tar_of({"c.jpg": b"3"}))
    assert [item.id for item in page.items] == ["a.jpg", "c.jpg"]
    assert [(each.id, each.reason) for each in page.rejects] == [("b.jpg", "no_file")]
    assert "--sparse" in page.rejects[0].detail


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (100, "is no tar file"),
        (512 + 300, "ends inside of a.jpg"),
        (512 + 1024, "has no end mark after 1536 bytes"),
        (512 + 1024 + 200, "has no end mark after 1536 bytes"),
        (2 * (512 + 1024), "has no end mark after 3072 bytes"),
    ],
)
def test_a_tar_that_was_cut_short_is_an_error(tmp_path: Path, length: int, message: str) -> None:
    whole = tar_of({"a.jpg": b"1" * 1024, "b.jpg": b"2" * 1024})
    with pytest.raises(StorageError, match=rf"a\.tar {message}.*copy it once more"):
        indexed(tmp_path, whole[:length])


def test_a_damaged_header_is_an_error(tmp_path: Path) -> None:
    data = bytearray(tar_of({"a.jpg": b"1" * 1024, "b.jpg": b"2" * 1024, "c.jpg": b"3"}))
    data[1536 + 20] ^= 1
    with pytest.raises(StorageError, match="no end mark after 1536 bytes"):
        indexed(tmp_path, bytes(data))


def with_size(size: int, header: str) -> bytes:
    """A tar of two photographs, of which the second one's header says this size."""
    member = tarfile.TarInfo("b.jpg")
    if header == "pax":
        member.pax_headers = {"size": str(size)}
        bad = member.tobuf(tarfile.PAX_FORMAT)
    else:
        member.size = size
        bad = member.tobuf(tarfile.GNU_FORMAT)
    return tar_of({"a.jpg": b"1" * 1024})[: 512 + 1024] + bad + bytes(1024)


@pytest.mark.parametrize("header", ["base-256", "pax"])
@pytest.mark.parametrize("size", [-1, -512, -1024, -2048, -4096])
def test_a_size_below_0_is_an_error_and_no_endless_loop(
    tmp_path: Path, size: int, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = range_file.RangeFile.read

    def count(self: range_file.RangeFile, size: int | None = -1) -> bytes:
        reads.append(self.tell())
        assert len(reads) < 100, "it goes in circles"
        return read(self, size)

    monkeypatch.setattr(range_file.RangeFile, "read", count)
    # Later readers of Python's own stop at such a header by themselves.
    message = rf"a\.tar (says .*b\.jpg has {size} bytes|has no end mark after 1536).*once more"
    with pytest.raises(StorageError, match=message):
        indexed(tmp_path, with_size(size, header))


def test_what_lies_between_headers_is_read_once_or_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_file, "_WINDOW_BYTES", 4096)
    lengths: list[int] = []
    read_range = Storage.read_range

    def count(self: Storage, name: str, start: int, length: int) -> bytes:
        lengths.append(length)
        return read_range(self, name, start, length)

    monkeypatch.setattr(Storage, "read_range", count)
    indexed(tmp_path, tar_of({f"{n}.jpg": b"x" * 100 for n in range(20)}))
    assert sum(lengths) <= 7 * 4096, "small ones are read in one go"
    lengths.clear()
    indexed(tmp_path, tar_of({f"{n}.jpg": b"x" * 100_000 for n in range(20)}))
    assert sum(lengths) <= 21 * 4096, "large ones are stepped over"
