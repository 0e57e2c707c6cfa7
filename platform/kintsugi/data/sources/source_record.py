"""Which photographs shards were packed from: kept next to them, compared before they are used.

By names and sizes of the source's files, so that comparing reads none of them. In a file of its
own: the same photographs give the same manifest, whatever files they come from.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.data.sources.items import hashed
from kintsugi.storage.storage import Storage

RECORD_NAME = "source.json"


@dataclass
class Fingerprint:
    """Of names and sizes of files, in whatever order they are listed."""

    _count: int = 0
    _total: int = 0

    def add(self, name: str, size: int) -> None:
        """Take up a file. Args: ``size``: in bytes."""
        self._count += 1
        self._total += int.from_bytes(hashlib.sha256(hashed(f"{size}\n{name}")).digest(), "big")

    def digest(self) -> str:
        """SHA-256 of all that was taken up."""
        return hashlib.sha256(f"{self._count} {self._total % 2**256:x}".encode()).hexdigest()


@dataclass(frozen=True)
class _Record:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)

    source_sha256: str = ""
    packing_sha256: str = ""
    manifest_sha256: str = ""


def note_source(target: Storage, source: str, packing: str, manifest: bytes) -> None:
    """Say what shards are of, before their manifest is written.

    Args:
        target: The folder of the shards.
        source: The digest of a `Fingerprint`.
        packing: The digest of all that decides the shards.
        manifest: The file that will vouch for the shards: the note is of these alone.
    """
    record = _Record(source, packing, hashlib.sha256(manifest).hexdigest())
    target.write(RECORD_NAME, (json.dumps(asdict(record), indent=1) + "\n").encode())


def source_of(target: Storage, manifest: bytes) -> str:
    """What shards are of; "" where nothing says it, as of those that were packed before."""
    return _record(target, manifest).source_sha256


def packing_of(target: Storage, manifest: bytes) -> str:
    """What decided shards; "" where nothing says it."""
    return _record(target, manifest).packing_sha256


def _record(target: Storage, manifest: bytes) -> _Record:
    if not target.exists(RECORD_NAME):
        return _Record()
    try:
        record = TypeAdapter(_Record).validate_json(target.read(RECORD_NAME))
    except ValidationError:
        return _Record()
    same = record.manifest_sha256 == hashlib.sha256(manifest).hexdigest()
    return record if same else _Record()
