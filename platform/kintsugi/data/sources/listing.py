"""All photographs of a place, page by page, whatever they are in; and their bytes.

What a listing holds at one time is bounded by the largest file that photographs lie in, and not
by how many photographs there are.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kintsugi.data.sources import lmdb_input, parquet_input, tars
from kintsugi.data.sources.items import Intake, Item, Kind, Page
from kintsugi.data.sources.source_record import Fingerprint
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.imaging.formats import PHOTO_SUFFIXES, is_hidden, is_photo
from kintsugi.storage.parallel import map_tasks
from kintsugi.storage.storage import Storage, file_at

_log = logging.getLogger(__name__)
_CONTAINERS: dict[str, Kind] = {tars.SUFFIX: "tar", parquet_input.SUFFIX: "parquet"}
_WORDS = {"tar": "tar files", "parquet": "Parquet files", "lmdb": "LMDBs"}


@dataclass(frozen=True)
class Source:
    """Where photographs are; it travels to tasks.

    Attributes:
        storage: The folder or bucket.
        copies: Where photographs are copied that cannot be read where they are.
        intake: How they are found.
        only: The one file in the folder that is meant; "" for all.
        left_out: Start of the names of what is not listed; "" = none is.
    """

    storage: Storage
    copies: Storage
    intake: Intake = Intake()
    only: str = ""
    left_out: str = ""

    @property
    def uri(self) -> str:
        """As messages name it."""
        return f"{self.storage.uri}/{self.only}" if self.only else self.storage.uri

    def read(self, item: Item) -> bytes:
        """The bytes of a photograph.

        Raises:
            InvalidInput: `image_unreadable`, which is this photograph's own trouble.
            StorageError: Of any other kind, which concerns all of them.
        """
        kind, _, name = item.place.partition(":")
        if kind == tars.PLACE:
            return self.storage.read_range(name, item.start, item.size)
        if kind == parquet_input.PLACE:
            return self.copies.read_range(name, item.start, item.size)
        if kind == lmdb_input.PLACE:
            return lmdb_input.read_lmdb(self.storage, name, item.id)
        return _read_file(self.storage, item.id)


def open_source(uri: str, target: Storage, intake: Intake) -> Source:
    """A folder, a bucket, or one file of those that photographs lie in.

    Args:
        uri: Its URI.
        target: The folder of the shards; where it lies in that folder, nothing in it is listed.
        intake: How photographs are found there.

    Raises: ConfigError: both are the same folder.
    """
    copies = target.join(parquet_input.COPIES)
    if _container(uri) and not uri.endswith("/"):
        storage, name = file_at(uri)
        return Source(storage, copies, intake, name)
    storage = Storage(uri)
    inside = _place_in(storage, target)
    if inside == "":
        raise ConfigError(
            f"{storage.uri} is the folder of the photographs and that of the shards, which would"
            f" be taken for photographs: choose another output, such as {storage.uri}/shards"
        )
    if inside is None:
        return Source(storage, copies, intake)
    _log.warning("%s lies in %s: nothing in it is read", target.uri, storage.uri)
    return Source(storage, copies, intake, left_out=f"{inside}/")


def _place_in(storage: Storage, target: Storage) -> str | None:
    """The name of a folder in another, "" for the same; None where it lies elsewhere."""
    if storage.is_bucket or target.is_bucket:
        start, own = storage.uri, target.uri
    else:
        start, own = (os.path.realpath(each.uri) for each in (storage, target))
    start, own = f"{start.rstrip('/')}/", f"{own.rstrip('/')}/"
    return own[len(start) : -1] if own.startswith(start) else None


def list_photos(source: Source, seen: Fingerprint | None = None) -> Iterator[Page]:
    """All photographs of a source, in no order.

    Where there are photographs by themselves, other files are ignored; else photographs are
    looked for in these, by Ray's tasks where Ray is initialised.

    Args:
        source: Where they are.
        seen: Takes up the files; whole when the listing has ended.

    Raises:
        ConfigError: There are none, or several kinds of files they can be in.
        StorageError: A part cannot be listed: half a listing is none.
    """
    walked = _Walked()
    kind = source.intake.kind
    pages = _noted(source, Fingerprint() if seen is None else seen)
    if source.only:
        walked.containers += [each for page in pages for each in page.items()]
    else:
        yield from walked.photos(pages, kind)
    # A folder that was packed before tars were read may hold some that were ignored.
    if walked.found:
        yield Page(ignored=len(walked.containers))
        return
    chosen = _of_one_kind(source, walked)
    yield Page(ignored=walked.others + len(walked.containers) - len(chosen))
    if _container(chosen[0][0]) == "lmdb":
        for name, _ in chosen:
            yield from lmdb_input.index_lmdb(source.storage, name)
    else:
        # By their names: of two photographs of one name the same is taken each time.
        yield from map_tasks(_index, source, chosen)


def fingerprint_of(source: Source) -> str:
    """The digest of the files that photographs are or can lie in; lists them, and reads none."""
    seen = Fingerprint()
    for _ in _noted(source, seen):
        pass
    return seen.digest()


def _noted(source: Source, seen: Fingerprint) -> Iterator[dict[str, int]]:
    for sizes in _sizes(source):
        for name, size in sizes.items():
            if is_photo(name) or _container(name):
                seen.add(name, size)
        yield sizes


def _sizes(source: Source) -> Iterator[dict[str, int]]:
    """A listing of files, a page at a time."""
    if source.only:
        yield {source.only: source.storage.size(source.only)}
        return
    for sizes in source.storage.walk():
        if source.left_out:
            # A packing that was cut off left shards and copies there.
            yield {
                name: size for name, size in sizes.items() if not name.startswith(source.left_out)
            }
        else:
            yield sizes


@dataclass
class _Walked:
    """What a listing has come to know."""

    found: bool = False
    others: int = 0
    # Names and sizes of files that photographs can lie in.
    containers: list[tuple[str, int]] = field(default_factory=list)
    compressed: str = ""

    def photos(self, pages: Iterable[dict[str, int]], kind: Kind) -> Iterator[Page]:
        """Those that are files by themselves; of the rest it is noted what they are."""
        for sizes in pages:
            items, ignored = [], 0
            for name, size in sizes.items():
                if is_photo(name) and kind in ("auto", "photos"):
                    items.append(Item(name, size))
                elif _container(name) in ((kind,) if kind != "auto" else _WORDS):
                    self.containers.append((name, size))
                elif name.rpartition("/")[2] != lmdb_input.LOCK_NAME:
                    ignored += 1
                if name.endswith(tars.COMPRESSED_SUFFIXES):
                    self.compressed = name
            self.found = self.found or bool(items)
            if self.found:
                yield Page(items, ignored=ignored + self.others)
                self.others = 0
            else:
                self.others += ignored


def _of_one_kind(source: Source, walked: _Walked) -> list[tuple[str, int]]:
    kinds = sorted({kind for name, _ in walked.containers if (kind := _container(name))})
    if len(kinds) > 1:
        raise ConfigError(
            f"{source.uri} holds {' and '.join(_WORDS[kind] for kind in kinds)}: say with --kind"
            " which of them photographs are read from"
        )
    if not kinds:
        others = walked.others + len(walked.containers)
        hint = (
            f"; {walked.compressed} is compressed, of which no part can be read: unpack it to .tar"
            if walked.compressed
            else ""
        )
        raise ConfigError(
            f"no photographs in {source.uri} ({others} other files): it must hold files that end in"
            f" {', '.join(PHOTO_SUFFIXES)}, or tar files, Parquet files or an LMDB of them{hint}"
        )
    return sorted(walked.containers)


def _index(source: Source, container: tuple[str, int]) -> Page:
    name, size = container
    if _container(name) == "tar":
        return tars.index_tar(source.storage, name, size)
    return parquet_input.copy_parquet(source.storage, name, size, source.copies, source.intake)


def _container(name: str) -> Kind | None:
    """The kind of file by its name, where photographs can lie in it."""
    file = name.rpartition("/")[2]
    if is_hidden(file):
        return None
    if file == lmdb_input.DATA_NAME:
        return "lmdb"
    return next((kind for end, kind in _CONTAINERS.items() if file.lower().endswith(end)), None)


def _read_file(storage: Storage, name: str) -> bytes:
    try:
        return storage.read(name)
    except StorageError as error:
        # One photograph's own trouble; anything else concerns them all.
        if isinstance(error.__cause__, (FileNotFoundError, PermissionError)):
            raise InvalidInput(str(error), code="image_unreadable") from error
        raise
