"""Shards that several tests of this folder read or damage."""

from pathlib import Path

import pytest

from kintsugi.data.packing import Packing
from kintsugi.data.shard_writer import write_shards
from kintsugi.storage.storage import Storage
from tests.kintsugi.pictures import photo


@pytest.fixture
def shards(tmp_path: Path) -> Storage:
    """Six photographs in two parts."""
    photos, shards = Storage(tmp_path / "photos"), Storage(tmp_path / "shards")
    for index in range(6):
        photos.write(f"{index}.png", photo(64 + index, 64, "PNG"))
    write_shards(photos.uri, shards.uri, packing=Packing(rows_per_part=3))
    return shards
