"""Packed masks: a draw depends on its key alone, memory is bounded, altered files are named."""

from pathlib import Path

import numpy as np
import pytest

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import settings_of
from kintsugi.data.mask_files import packed_masks
from kintsugi.data.mask_files.mask_folder import pack_masks
from kintsugi.data.mask_files.packed_masks import (
    MASKS_PER_PART,
    PackedMasks,
    cut_mask,
    open_packed,
    resize_mask,
)
from kintsugi.data.samples import draw_sample
from kintsugi.errors import StorageError
from kintsugi.masks.generators import draw_mask, hole_share
from kintsugi.storage.storage import Storage
from tests.kintsugi.data.mask_files.pictures_of_masks import picture, write_masks

SIZE = 128
# Some draws may be alike, of masks that are mostly empty.
FEW = 8


@pytest.fixture
def packed(tmp_path: Path) -> PackedMasks:
    return pack_masks(write_masks(tmp_path / "masks"), Storage(tmp_path / "packed"), SIZE)


def test_a_mask_follows_from_seed_epoch_and_photograph_and_from_nothing_else(
    packed: PackedMasks,
) -> None:
    data = DataSection(shards="unused", crop_px=SIZE, resize_px=140, masks=(packed.uri, "thick"))
    photo = np.random.default_rng(0).integers(0, 255, (150, 170, 3), dtype=np.uint8)

    def drawn(key: int, epoch: int = 0, seed: int = 0) -> bytes:
        return draw_sample(photo, key, epoch, settings_of(data, seed)).mask.tobytes()

    forwards = [drawn(key) for key in range(40)]
    assert [drawn(key) for key in reversed(range(40))] == forwards[::-1]
    assert len(set(forwards)) > 40 - FEW
    assert len({drawn(5), drawn(5, epoch=1), drawn(5, seed=1)}) == 3


def test_every_mask_is_drawn_in_many_windows_and_mirrored(packed: PackedMasks) -> None:
    draws = [packed.draw(SIZE, np.random.default_rng(seed)) for seed in range(400)]
    assert all(mask.shape == (SIZE, SIZE) and mask.dtype == np.bool_ for mask in draws)
    assert all(0 < hole_share(mask) <= 0.5 for mask in draws)
    assert len({mask.tobytes() for mask in draws}) > 400 - FEW
    numbers = {int(np.random.default_rng(seed).integers(packed.count)) for seed in range(400)}
    assert numbers == set(range(packed.count))


def test_half_of_the_draws_are_mirrored(tmp_path: Path) -> None:
    hole = np.zeros((SIZE, SIZE), np.bool_)
    # Every window shows its left side hole, or its right side when mirrored.
    hole[:, : SIZE // 3] = True
    (tmp_path / "masks").mkdir()
    picture(hole).save(tmp_path / "masks" / "left.png")
    packed = pack_masks(str(tmp_path / "masks"), Storage(tmp_path / "packed"), SIZE)
    draws = [packed.draw(SIZE, np.random.default_rng(seed)) for seed in range(200)]
    assert all(mask[:, 0].all() != mask[:, -1].all() for mask in draws)
    assert 70 < sum(bool(mask[0, 0]) for mask in draws) < 130


def test_a_window_shows_the_hole_wherever_that_is() -> None:
    hole = np.zeros((300, 400), np.bool_)
    hole[:9, :9] = True
    for seed in range(50):
        window = cut_mask(hole, SIZE, np.random.default_rng(seed))
        assert 0 < hole_share(window) < 0.5


def test_a_window_has_no_more_hole_than_its_mask_where_that_is_over_half() -> None:
    rng = np.random.default_rng(0)
    known = draw_mask("thick", 256, 256, rng) | draw_mask("rectangle", 256, 256, rng)
    hole = ~known
    assert hole_share(hole) > 0.5
    shares = [hole_share(cut_mask(hole, SIZE, np.random.default_rng(seed))) for seed in range(50)]
    assert max(shares) <= hole_share(hole)
    assert min(shares) > 0


def test_thin_lines_stay_when_a_mask_is_made_smaller_and_nothing_grows_when_larger() -> None:
    hole = np.zeros((512, 512), np.bool_)
    hole[:, 100:102] = True
    assert resize_mask(hole, SIZE, SIZE)[:, 24:26].any(axis=1).all()
    small = draw_mask("thick", 64, 64, np.random.default_rng(0))
    assert hole_share(resize_mask(small, SIZE, SIZE)) == pytest.approx(hole_share(small), abs=0.02)
    assert resize_mask(small, 64, 64) is small


def test_no_more_stays_in_memory_than_the_limit(tmp_path: Path) -> None:
    """What was given up is read again, and missed once it is gone."""
    count = 2 * MASKS_PER_PART + 1
    source = write_masks(tmp_path / "masks", count, side=24)
    packed = pack_masks(source, Storage(tmp_path / "packed"), SIZE)
    part_bytes = sum(len(each) for each in packed_masks._read_part(packed, 0))
    parts = packed_masks._Parts(part_bytes * 3 // 2)
    first = parts.masks_of(packed, 0)
    for part in (tmp_path / "packed").glob("part-*"):
        if part.name != "part-00001.parquet":
            part.unlink()
    assert parts.masks_of(packed, 0) is first
    parts.masks_of(packed, 1)
    assert parts._bytes <= part_bytes * 3 // 2
    with pytest.raises(StorageError, match=r"part-00000\.parquet"):
        parts.masks_of(packed, 0)


def test_altered_masks_are_named(packed: PackedMasks) -> None:
    storage = Storage(packed.uri)
    data = bytearray(storage.read("part-00000.parquet"))
    data[len(data) // 2] ^= 1
    storage.write("part-00000.parquet", bytes(data))
    with pytest.raises(StorageError, match=r"part-00000\.parquet has SHA-256"):
        packed.mask(0)
    storage.write("manifest.json", storage.read("manifest.json") + b"\n")
    packed_masks._manifest.cache_clear()
    with pytest.raises(StorageError, match=r"manifest\.json changed while it was in use"):
        packed.mask(0)
    storage.write("manifest.json", b"{}")
    with pytest.raises(StorageError, match=r"manifest\.json is not of packed masks"):
        open_packed(packed.uri)
    with pytest.raises(StorageError, match=r"a run packs those that data\.masks names"):
        open_packed(f"{packed.uri}/nothing")
