"""Photographs in tar files, of which WebDataset is made: where each begins; knows no decoder."""

import tarfile
from collections.abc import Iterator
from itertools import groupby

from kintsugi.data.shards.part_lists import Reject
from kintsugi.data.sources.items import Item, Page
from kintsugi.errors import StorageError
from kintsugi.imaging.formats import is_photo
from kintsugi.storage.range_file import RangeFile
from kintsugi.storage.storage import Storage

SUFFIX = ".tar"
# These cannot be read from the middle.
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
PLACE = "tar"
_BLOCK = 512


def index_tar(storage: Storage, name: str, size: int) -> Page:
    """Where the photographs of a tar file lie.

    Neighbours whose names are the same up to the first dot of the file's name are one sample of
    WebDataset. Its photograph is the member with nothing but an image's suffix after that dot;
    what else it has (`.txt`, `.json`, `.seg.png` where there is a `.jpg`) is ignored.

    Args:
        storage: Where the file lies.
        name: Its name there.
        size: Its bytes.

    Raises: StorageError: it cannot be read to its end.
    """
    page, ignored = Page(), 0
    for _, sample in groupby(_members(storage, name, size), key=lambda member: _key(member.name)):
        members = [member for member in sample if not member.isdir()]
        photos = [member for member in members if is_photo(member.name)]
        plain = [member for member in photos if _suffix(member.name).count(".") == 1]
        chosen = plain or photos
        ignored += len(members) - len(chosen)
        for number, member in enumerate(chosen):
            why = _why_not(member, chosen[0].name if number else "")
            if why:
                page.rejects.append(Reject(_readable(member.name), *why))
                continue
            place = f"{PLACE}:{name}"
            page.items.append(Item(member.name, member.size, place, member.offset_data))
    return Page(page.items, page.rejects, ignored)


def _members(storage: Storage, name: str, size: int) -> Iterator[tarfile.TarInfo]:
    where = f"{storage.uri}/{name}"
    remedy = "it was cut short or damaged: copy it once more, or leave it out"
    file = RangeFile(storage, name, size)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            before = 0
            while (member := tar.next()) is not None:
                # Else it would keep all of them.
                tar.members = []  # type: ignore[attr-defined]
                # A size below 0 leads back to a header that was read: to go on would never end.
                if member.size < 0 or tar.offset <= before:
                    raise StorageError(
                        f"{where} says that {_readable(member.name)} has {member.size} bytes:"
                        f" {remedy}"
                    )
                before = tar.offset
                # The size of a sparse one is that of the file it was, and not what is stored.
                stored = member.isreg() and not member.issparse()
                if stored and member.offset_data + member.size > size:
                    raise StorageError(f"{where} ends inside of {_readable(member.name)}: {remedy}")
                member.name = member.name.removeprefix("./")
                yield member
            end = tar.offset
    except tarfile.TarError as error:
        raise StorageError(f"{where} is no tar file: {error}: {remedy}") from error
    # The reader stops without a word at what is no header. Only zeros are the end.
    file.seek(end)
    mark = file.read(_BLOCK)
    if len(mark) < _BLOCK or mark.strip(b"\0"):
        raise StorageError(f"{where} has no end mark after {end} bytes: {remedy}")


def _why_not(member: tarfile.TarInfo, first: str) -> tuple[str, str] | None:
    """Reason and sentence, where a member cannot be packed; ``first``: of its sample, if other."""
    if not member.isreg():
        return "no_file", "a link in a tar file: only what is stored in it is read"
    if member.issparse():
        return "no_file", "a sparse file in a tar, without its zeros: pack it without --sparse"
    if first:
        return (
            "second_of_sample",
            f"{first} is the photograph of this sample: of names that are the same up to the first"
            " dot one is taken",
        )
    return None


def _key(name: str) -> str:
    return name.removesuffix(_suffix(name))


def _suffix(name: str) -> str:
    """All from the first dot of the file's name on; the dot of a hidden file begins none."""
    _, dot, suffix = name.rpartition("/")[2].lstrip(".").partition(".")
    return dot + suffix


def _readable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
