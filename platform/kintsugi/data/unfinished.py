"""A packing that is not finished: which of its parts are done; knows no photographs.

Next to each part that is written lies a note of what became of it. A packing that was cut off
and is started again takes those notes' word, and packs what is left.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.data.shard_manifest import MANIFEST_NAME
from kintsugi.data.shards.part_lists import PartInfo, Reject
from kintsugi.data.sources.source_record import packing_of
from kintsugi.errors import ConfigError
from kintsugi.storage.storage import Storage

# There while parts are written: a writing that was cut off differs from others' files.
UNFINISHED_NAME = "manifest.unfinished"
_NOTES = "unfinished"
_READS_AT_ONCE = 16


@dataclass(frozen=True)
class PartResult:
    """What became of a plan; `part` is None when no photograph of it was usable."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    part: PartInfo | None
    rejects: tuple[Reject, ...]

    @property
    def rows(self) -> int:
        """Photographs that were packed."""
        return self.part.rows if self.part else 0


_RESULT = TypeAdapter(PartResult)


def mark_of(target: Storage) -> str:
    """The digest of the packing that goes on in a folder, or was cut off there; "" = none."""
    if not target.exists(UNFINISHED_NAME):
        return ""
    return target.read(UNFINISHED_NAME).decode(errors="replace").partition("\n")[0]


def check_mark(target: Storage, digest: str) -> None:
    """Refuse to write into a folder that another packing has taken over.

    Raises: ConfigError: its mark is another's, or it has finished there.
    """
    found = mark_of(target)
    if not found and target.exists(MANIFEST_NAME):
        # Of the same photographs, packed alike, the files are the same.
        found = packing_of(target, target.read(MANIFEST_NAME))
    if found not in ("", digest):
        raise ConfigError(
            f"{target.uri} was taken over by a packing of other photographs, or of these in"
            " another way: this one writes no more there; choose another output"
        )


def note_done(target: Storage, name: str, result: PartResult) -> None:
    """Say that a part is written; after it was."""
    target.join(_NOTES).write(f"{name}.json", _RESULT.dump_json(result))


@dataclass(frozen=True)
class Unfinished:
    """One packing into a folder.

    Attributes:
        target: The folder.
        digest: The digest of what decides all of its parts.
    """

    target: Storage
    digest: str

    def begin(self) -> bytes | None:
        """Take away an earlier manifest, and give it: it must not vouch for what changes now.

        Notes of another packing are no notes of this one.
        """
        target = self.target
        earlier = target.read(MANIFEST_NAME) if target.exists(MANIFEST_NAME) else None
        if mark_of(target) != self.digest:
            target.delete_folder(_NOTES)
        text = f"{self.digest}\nThis is not finished: run the same command again.\n"
        target.write(UNFINISHED_NAME, text.encode())
        target.delete(MANIFEST_NAME)
        return earlier

    def done(self) -> dict[str, PartResult]:
        """What became of the parts that are written, by the part's name."""
        notes, sizes = self.target.join(_NOTES), self.target.sizes()
        done, names = {}, notes.list()
        # A note for each part: one after the other they would take as long as packing some.
        with ThreadPoolExecutor(_READS_AT_ONCE) as threads:
            texts = list(threads.map(notes.read, names))
        for note, text in zip(names, texts, strict=True):
            name = note.removesuffix(".json")
            try:
                result = _RESULT.validate_json(text)
            except ValidationError:
                # Packed once more.
                continue
            if result.part is None or sizes.get(name) == result.part.bytes:
                done[name] = result
        return done

    def end(self, manifest: bytes | None) -> None:
        """Write the manifest, if there is one, and forget the notes."""
        if manifest is not None:
            self.target.write(MANIFEST_NAME, manifest)
        self.target.delete(UNFINISHED_NAME)
        self.target.delete_folder(_NOTES)
