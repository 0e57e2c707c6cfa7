"""A packing that was cut off goes on where it was; one of other photographs starts over."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.data import shard_writer
from kintsugi.data.packing import Packing, PartPlan
from kintsugi.data.shard_manifest import MANIFEST_NAME, read_manifest, read_part
from kintsugi.data.shard_writer import write_shards
from kintsugi.data.sources.listing import Source
from kintsugi.data.unfinished import UNFINISHED_NAME, PartResult, Unfinished, note_done
from kintsugi.errors import ConfigError
from kintsugi.imaging.codec import encode_image
from kintsugi.storage.storage import Storage

PACKING = Packing(rows_per_part=2, held_out_share=0.3)


def write_photos(photos: Storage, count: int) -> None:
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 255, (8, 8, 3), np.uint8).repeat(10, 0).repeat(12, 1)
        photos.write(f"{number:03d}.png", encode_image(pixels))


class Killed(Exception):
    """The process ended."""


def packed(monkeypatch: pytest.MonkeyPatch, most: int | None = None) -> list[str]:
    """Which parts are packed from now on; the process ends before one more than ``most``."""
    names: list[str] = []
    pack_part = shard_writer.pack_part

    def counted(source: Source, target: Storage, plan: PartPlan, how: Packing) -> PartResult:
        if len(names) == most:
            raise Killed
        names.append(plan.name)
        return pack_part(source, target, plan, how)

    monkeypatch.setattr(shard_writer, "pack_part", counted)
    return names


def test_no_part_is_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, target = Storage(tmp_path / "photos"), Storage(tmp_path / "shards")
    write_photos(photos, 9)
    photos.write("broken.png", b"x")
    whole = write_shards(photos.uri, str(tmp_path / "whole"), packing=PACKING)
    with monkeypatch.context() as patched:
        first = packed(patched, most=3)
        with pytest.raises(Killed):
            write_shards(photos.uri, target.uri, packing=PACKING)
    assert not target.exists(MANIFEST_NAME)
    assert target.exists(UNFINISHED_NAME)
    rest = packed(monkeypatch)
    reports: list[int] = []
    manifest = write_shards(
        photos.uri, target.uri, packing=PACKING, report=lambda _, done, total: reports.append(done)
    )
    assert len(first) == 3
    assert not set(first) & set(rest)
    assert manifest == whole
    assert reports == list(range(1, len(first + rest) + 1))
    assert [reject.id for reject in manifest.rejects] == ["broken.png"]
    assert not any(name.startswith("unfinished") for name in target.list())


@pytest.mark.parametrize("change", ["photograph", "seed", "part", "note"])
def test_what_may_be_another_is_packed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    photos, target = Storage(tmp_path / "photos"), Storage(tmp_path / "shards")
    write_photos(photos, 8)
    with monkeypatch.context() as patched:
        packed(patched, most=2)
        with pytest.raises(Killed):
            write_shards(photos.uri, target.uri, packing=PACKING)
    if change == "photograph":
        photos.write("another.png", photos.read("000.png"))
    elif change == "part":
        target.write("part-00000.parquet", b"x")
    elif change == "note":
        target.write("unfinished/part-00000.parquet.json", b"{}")
    again = packed(monkeypatch)
    manifest = write_shards(
        photos.uri, target.uri, packing=PACKING, seed=1 if change == "seed" else 0
    )
    assert "part-00000.parquet" in again
    assert ("part-00001.parquet" in again) == (change in ("photograph", "seed"))
    for part in manifest.parts:
        assert len(read_part(target, part)) == part.rows


def test_large_photographs_are_stored_smaller(tmp_path: Path) -> None:
    photos, target = Storage(tmp_path / "photos"), Storage(tmp_path / "shards")
    ramp = np.linspace(0, 255, 900).astype(np.uint8)
    large = np.broadcast_to(ramp[None, :, None], (600, 900, 3))
    photos.write("large.jpg", encode_image(large, "jpeg"))
    photos.write("large.png", encode_image(large))
    small = encode_image(large[:150, :200])
    photos.write("small.png", small)
    write_shards(photos.uri, target.uri, packing=Packing(max_side=160))
    (part,) = read_manifest(target).parts
    rows = {row["id"]: row for row in read_part(target, part).to_pylist()}
    assert rows["small.png"]["image"] == small
    for name in ("large.jpg", "large.png"):
        assert (rows[name]["height"], rows[name]["width"]) == (160, 240)
        with Image.open(io.BytesIO(rows[name]["image"])) as image:
            assert (image.format, image.size) == ("JPEG", (240, 160))
            difference = np.asarray(image)[80, ::24, 0] - np.linspace(0, 255, 240)[::24]
        assert np.abs(difference).max() < 4
    with pytest.raises(ConfigError, match="max_side=10: at least 64 px"):
        Packing(max_side=10)


def test_notes_are_read_several_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Storage(tmp_path)
    for number in range(8):
        note_done(target, f"part-{number:05d}.parquet", PartResult(None, ()))
    together, read = threading.Barrier(8, timeout=60), Storage.read

    def meeting(self: Storage, name: str) -> bytes:
        # One after the other they would never meet.
        together.wait()
        return read(self, name)

    monkeypatch.setattr(Storage, "read", meeting)
    assert len(Unfinished(target, "digest").done()) == 8
