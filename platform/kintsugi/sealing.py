"""A folder and the manifest that vouches for every file in it; knows nothing of their content."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.errors import StorageError

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class _Fingerprint:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Manifest:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    version: int
    files: dict[str, _Fingerprint]


class DamagedCheckpoint(StorageError):
    """A checkpoint that is not what its manifest says, as opposed to storage that fails."""


def seal(folder: Path) -> None:
    """Write the manifest that vouches for every file in ``folder``."""
    files = {path.name: _fingerprint(path.read_bytes()) for path in sorted(folder.iterdir())}
    manifest = asdict(_Manifest(FORMAT_VERSION, files))
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2))


def verify_checkpoint(folder: Path, name: str) -> None:
    """Compare every file with the manifest.

    Raises: DamagedCheckpoint naming the first that differs.
    """
    try:
        manifest = TypeAdapter(_Manifest).validate_json((folder / MANIFEST_NAME).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise DamagedCheckpoint(
            f"checkpoint {name} is refused: its {MANIFEST_NAME} cannot be read"
        ) from error
    if manifest.version != FORMAT_VERSION:
        raise DamagedCheckpoint(
            f"checkpoint {name} is refused: format version {manifest.version}, this program reads"
            f" {FORMAT_VERSION}"
        )
    unnamed = sorted(path.name for path in folder.iterdir() if path.name not in manifest.files)
    if unnamed != [MANIFEST_NAME]:
        raise DamagedCheckpoint(
            f"checkpoint {name} is refused: its {MANIFEST_NAME} does not name {unnamed[0]}"
        )
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
