"""Photographs in the order in which they are packed, on a disk: a billion fit in no memory.

A database of SQLite in a temporary folder (TMPDIR) sorts them; some 300 bytes each.
"""

import hashlib
import sqlite3
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kintsugi.data.packing import Packing, PartPlan, place_of, rows_of_parts
from kintsugi.data.shard_manifest import part_name
from kintsugi.data.shards.part_lists import Reject, Split
from kintsugi.data.sources.items import Item, Page, hashed, readable
from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.errors import StorageError
from kintsugi.storage.backends import room_at

_SPLITS: tuple[Split, Split] = (TRAIN, HELD_OUT)
# Bytes of the hash by which photographs are ordered; those of equal ones by their names.
_KEY_BYTES = 16
# Nothing of it outlives this process: what was begun is never ended.
_SETTINGS = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
PRAGMA temp_store = FILE; PRAGMA cache_size = -65536;
BEGIN;
CREATE TABLE found (
    split INT, key BLOB, id TEXT, size INT, place INT, start INT, other_id TEXT
);
CREATE TABLE arranged (number INTEGER PRIMARY KEY, id TEXT, size INT, place INT, start INT);
"""


class Spool:
    """Photographs as they are found, then in parts.

    Attributes:
        count: Photographs that were found.
        ignored: Files that are none.
        rejects: What cannot be packed: bad names, and names that came before.
    """

    def __init__(self, database: sqlite3.Connection, packing: Packing, seed: int) -> None:
        self.count = self.ignored = 0
        self.rejects: list[Reject] = []
        self._database = database
        self._packing = packing
        self._seed = seed
        self._digest = 0
        # Whether there are ids that no user chose.
        self._guessed = False
        self._places: dict[str, int] = {}
        self._names: list[str] = []
        # Rows of each part, and how many parts are for training.
        self._rows = array("L")
        self._ends = array("Q")
        self._train = 0

    def __len__(self) -> int:
        """Parts."""
        return len(self._rows)

    def add(self, page: Page) -> None:
        """Take up part of a listing."""
        self.ignored += page.ignored
        self.rejects += page.rejects
        self._database.executemany(
            "INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?)", self._found(page.items)
        )

    def _found(self, items: Iterable[Item]) -> Iterator[tuple[object, ...]]:
        for item in items:
            self.count += 1
            if not item.id.isprintable() and not _is_unicode(item.id):
                readable = item.id.encode("utf-8", "replace").decode()
                why = "its name is not UTF-8: rename it"
                self.rejects.append(Reject(readable, "name_not_unicode", why))
                continue
            text = hashed(f"{item.size} {item.start} {item.place}\n{item.id}")
            # A sum: whatever the order of the listing.
            self._digest += int.from_bytes(hashlib.sha256(text).digest(), "big")
            self._guessed = self._guessed or bool(item.other_id)
            yield (
                *self._rank(item.id),
                item.id,
                item.size,
                self._place(item.place),
                item.start,
                item.other_id,
            )

    def _rank(self, name: str) -> tuple[int, bytes]:
        split, key = place_of(name, self._packing, self._seed)
        return _SPLITS.index(split), key[:_KEY_BYTES]

    def _place(self, name: str) -> int:
        number = self._places.setdefault(name, len(self._places))
        if number == len(self._names):
            self._names.append(name)
        return number

    def arrange(self) -> None:
        """Put what was found in order, and divide it among parts; once, after all was added."""
        if self._guessed:
            self._tell_apart()
        for split in _SPLITS:
            first = sum(self._rows)
            rows = enumerate(self._once_each(_SPLITS.index(split)), first)
            self._database.executemany(
                "INSERT INTO arranged VALUES (?, ?, ?, ?, ?)", ((at, *row) for at, row in rows)
            )
            sizes = self._database.execute(
                "SELECT size FROM arranged WHERE number >= ? ORDER BY number", (first,)
            )
            for count in rows_of_parts((size for (size,) in sizes), self._packing):
                self._rows.append(count)
                self._ends.append(first + count)
                first += count
            if split == TRAIN:
                self._train = len(self._rows)
        self._database.execute("DROP TABLE found")

    def _tell_apart(self) -> None:
        """Give photographs of equal ids their other ones: all of them, in whatever order."""
        self._database.execute(
            "CREATE TABLE equals AS SELECT rowid AS number, other_id FROM found WHERE"
            " other_id <> '' AND id IN (SELECT id FROM found GROUP BY id HAVING count(*) > 1)"
        )
        equals = self._database.execute("SELECT number, other_id FROM equals")
        self._database.executemany(
            "UPDATE found SET split = ?, key = ?, id = ? WHERE rowid = ?",
            ((*self._rank(name), name, number) for number, name in equals),
        )
        self._database.execute("DROP TABLE equals")

    def _once_each(self, split: int) -> Iterator[tuple[str, int, int, int]]:
        before = None
        for name, size, place, start in self._database.execute(
            "SELECT id, size, place, start FROM found WHERE split = ?"
            " ORDER BY key, id, place, start",
            (split,),
        ):
            if name == before:
                where = readable(self._names[place].partition(":")[2]) or "the same folder"
                why = f"another photograph has this name; this one is in {where}: rename it"
                self.rejects.append(Reject(name, "name_twice", why))
                continue
            before = name
            yield name, size, place, start

    def plan(self, index: int) -> PartPlan:
        """The photographs of a part; parts of training come first."""
        end = self._ends[index]
        found = self._database.execute(
            "SELECT id, size, place, start FROM arranged WHERE number >= ? AND number < ?"
            " ORDER BY number",
            (end - self._rows[index], end),
        )
        items = tuple(
            Item(name, size, self._names[place], start) for name, size, place, start in found
        )
        return PartPlan(part_name(index), items, TRAIN if index < self._train else HELD_OUT)

    def digest(self, about: str) -> str:
        """Of all that was found, and of a text."""
        total = self._digest % 2**256
        return hashlib.sha256(hashed(f"{about} {self.count} {total:x}")).hexdigest()


@contextmanager
def spool(pages: Iterable[Page], packing: Packing, seed: int) -> Iterator[Spool]:
    """A listing, arranged; gone when the block ends.

    Args:
        pages: The listing.
        packing: How large a part may be, and which share is held out.
        seed: Decides the order.

    Raises: StorageError: there is no room for it.
    """
    with tempfile.TemporaryDirectory(prefix="kintsugi-") as folder:
        database = sqlite3.connect(Path(folder) / "photographs", isolation_level=None)
        try:
            database.executescript(_SETTINGS)
            spooled = Spool(database, packing, seed)
            for page in pages:
                spooled.add(page)
            spooled.arrange()
            yield spooled
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"cannot list photographs in {folder}: {error}: {room_at(Path(folder))}; name a"
                " folder on a larger disk with TMPDIR"
            ) from error
        finally:
            database.close()


def _is_unicode(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)
