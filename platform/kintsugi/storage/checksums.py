"""A folder and the manifest that vouches for every file in it; knows nothing of their content."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.errors import StorageError

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class _Fingerprint:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Manifest:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    files: dict[str, _Fingerprint]


@dataclass(frozen=True)
class _Versioned:
    """What of a manifest every version has."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)

    version: int


class DamagedCheckpoint(StorageError):
    """A checkpoint that is not what its manifest says, as opposed to storage that fails."""


def write_checksums(folder: Path) -> None:
    """Write the manifest that vouches for every file in ``folder``."""
    files = {path.name: _fingerprint(path.read_bytes()) for path in sorted(folder.iterdir())}
    manifest = asdict(_Manifest(FORMAT_VERSION, files))
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2))


def verify_checksums(folder: Path, name: str) -> None:
    """Compare every file that the manifest names; others, such as a file browser's, are ignored.

    Raises:
        DamagedCheckpoint: names the first that differs.
        StorageError: it is not damaged, but of a format to come.
    """
    try:
        text = (folder / MANIFEST_NAME).read_bytes()
        version = TypeAdapter(_Versioned).validate_json(text).version
        if version > FORMAT_VERSION:
            raise StorageError(
                f"checkpoint {name} is of format version {version}, and this program reads"
                f" {FORMAT_VERSION}: a newer Kintsugi wrote it. Go on with that one, or delete"
                " the checkpoint to take the one before"
            )
        manifest = TypeAdapter(_Manifest).validate_json(text)
    except (FileNotFoundError, ValidationError) as error:
        raise DamagedCheckpoint(
            f"checkpoint {name} is refused: its {MANIFEST_NAME} cannot be read"
        ) from error
    if not manifest.files:
        raise DamagedCheckpoint(f"checkpoint {name} is refused: its {MANIFEST_NAME} names no file")
    for file, expected in manifest.files.items():
        path = folder / file
        if not path.is_file():
            raise DamagedCheckpoint(f"checkpoint {name} is refused: {file} is missing")
        if _fingerprint(path.read_bytes()) != expected:
            raise DamagedCheckpoint(
                f"checkpoint {name} is refused: {file} was cut short or altered"
            )


def _fingerprint(data: bytes) -> _Fingerprint:
    return _Fingerprint(len(data), hashlib.sha256(data).hexdigest())
