"""Crop, flip and hole depend on the seed, the epoch and the photograph, and on nothing else."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch

from kintsugi.order import Position, SampleOrder
from kintsugi.reading import open_reader
from kintsugi.samples import Batch, collate, draw_sample, local_batches
from kintsugi.sections import DataSection
from tests.kintsugi.training_runs import pack_photos

CONFIG = DataSection(shards="unused", crop_px=128, resize_px=140, masks=("rectangle", "strokes"))


def photo(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (150, 170, 3), dtype=np.uint8)


def test_a_sample_repeats_for_its_key_and_changes_with_each_part_of_it() -> None:
    def draw(key: int, epoch: int, seed: int) -> bytes:
        crop, mask, uniform = draw_sample(photo(), key, epoch, seed, CONFIG)
        return crop.tobytes() + mask.tobytes() + str(uniform).encode()

    assert draw(5, 1, 2) == draw(5, 1, 2)
    assert len({draw(5, 1, 2), draw(6, 1, 2), draw(5, 2, 2), draw(5, 1, 3)}) == 4


def test_a_batch_does_not_depend_on_who_is_beside_a_photograph() -> None:
    together = collate([photo(1), photo(2)], [10, 20], [0, 0], 7, CONFIG)
    alone = collate([photo(2)], [20], [0], 7, CONFIG)
    for both, one in zip(together.parts(), alone.parts(), strict=True):
        assert torch.equal(both[1:], one)


def test_a_batch_keeps_the_conventions() -> None:
    batch = collate([photo()], [3], [0], 0, CONFIG)
    assert batch.image.shape == (1, 3, 128, 128)
    assert batch.mask.shape == (1, 1, 128, 128)
    assert batch.image.dtype == batch.mask.dtype == torch.float32
    assert 0 <= float(batch.image.min()) < float(batch.image.max()) <= 1
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}


def test_crops_come_from_the_photograph_or_its_mirror_image() -> None:
    pixels = photo()
    windows = {
        flipped[top : top + 128, left : left + 128].tobytes()
        for flipped in (pixels, pixels[:, ::-1])
        for top in range(150 - 128 + 1)
        for left in range(170 - 128 + 1)
    }
    for key in range(10):
        crop, _, _ = draw_sample(pixels, key, 0, 0, CONFIG)
        assert np.ascontiguousarray(crop).tobytes() in windows


def test_batches_of_shards_go_on_from_any_position(tmp_path: Path) -> None:
    reader = open_reader(pack_photos(tmp_path), 140)
    order = SampleOrder(reader.rows_per_part, seed=1, shuffle_parts=2, workers=1, batch_size=5)

    def batches(start: Position, count: int) -> list[Batch]:
        return list(islice(local_batches(reader, order, CONFIG, start), count))

    whole = batches(Position(), 5)
    for resumed, expected in zip(batches(order.advance(Position(), 3), 2), whole[3:], strict=True):
        assert all(
            torch.equal(*pair) for pair in zip(resumed.parts(), expected.parts(), strict=True)
        )


def test_an_epoch_of_batches_holds_each_photograph_once(tmp_path: Path) -> None:
    reader = open_reader(pack_photos(tmp_path), 140)
    order = SampleOrder(reader.rows_per_part, seed=1, shuffle_parts=2, workers=1, batch_size=4)
    keys = torch.cat([b.keys for b in islice(local_batches(reader, order, CONFIG, Position()), 3)])
    assert len(keys.unique()) == 12
