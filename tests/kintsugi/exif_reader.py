"""ExifTool, which nobody here wrote, reads and writes tags (Debian: libimage-exiftool-perl)."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

# What a photographer would miss, in the groups that ExifTool writes.
WRITTEN = {
    "EXIF:Artist": "Ada L.",
    "EXIF:Copyright": "(c) Ada",
    "EXIF:DateTimeOriginal": "2019:05:06 07:08:09",
    "EXIF:Make": "Maker",
    "EXIF:FNumber": 2.8,
    "EXIF:GPSLatitude": 48.137,
    "EXIF:GPSLatitudeRef": "N",
    "XMP:Rating": 4,
    "XMP:Title": "A title",
    "IPTC:Keywords": "a keyword",
    "IPTC:City": "Munich",
}


def exiftool() -> str:
    found = shutil.which("exiftool")
    if found is None:
        pytest.skip("no exiftool: apt-get install libimage-exiftool-perl")
    return found


def write_tags(path: Path, tags: dict[str, Any]) -> None:
    """Write tags into a file; those that its format cannot hold are left out by ExifTool."""
    arguments = [f"-{name}={value}" for name, value in tags.items()]
    subprocess.run(
        [exiftool(), "-q", "-q", "-m", "-n", "-overwrite_original", *arguments, str(path)],
        check=True,
        capture_output=True,
    )


def read_tags(path: Path) -> dict[str, Any]:
    """All tags of a file by group and name, numbers as numbers."""
    done = subprocess.run(
        [exiftool(), "-j", "-n", "-G0", str(path)], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found
