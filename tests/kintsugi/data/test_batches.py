"""Crop, flip and hole depend on the seed, the epoch and the photograph, and on nothing else."""

import dataclasses
import hashlib
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import PackedBatch, collate, local_batches, settings_of
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.samples import Sample, draw_sample
from kintsugi.data.shard_reader import open_reader
from tests.kintsugi.training_runs import pack_photos

CONFIG = DataSection(shards="unused", crop_px=128, resize_px=140, masks=("rectangle", "strokes"))
# Crop, hole and draw as the program drew them before it could draw windows and colours.
DRAWN_BEFORE = "f04fb1279fb03440"
SETTINGS = settings_of(CONFIG, 0)


def photo(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (150, 170, 3), dtype=np.uint8)


def test_a_sample_repeats_for_its_key_and_changes_with_each_part_of_it() -> None:
    def draw(key: int, epoch: int, seed: int) -> bytes:
        sample = draw_sample(photo(), key, epoch, settings_of(CONFIG, seed))
        return sample.image.tobytes() + sample.mask.tobytes() + str(sample.draw).encode()

    assert draw(5, 1, 2) == draw(5, 1, 2)
    assert len({draw(5, 1, 2), draw(6, 1, 2), draw(5, 2, 2), draw(5, 1, 3)}) == 4


def test_a_batch_does_not_depend_on_a_photographs_neighbours() -> None:
    one, other = (draw_sample(photo(seed), 10 * seed, 0, SETTINGS) for seed in (1, 2))
    together, alone = collate([10, 20], [one, other]), collate([20], [other])
    for both, one in zip(together.parts(), alone.parts(), strict=True):
        assert torch.equal(both[1:], one)


def test_a_batch_keeps_the_conventions() -> None:
    sample = draw_sample(photo(), 3, 0, SETTINGS)
    packed = collate([3], [sample])
    assert packed.image.dtype == torch.uint8
    batch = packed.to(torch.device("cpu"))
    assert batch.image.shape == (1, 3, 128, 128)
    assert batch.mask.shape == (1, 1, 128, 128)
    assert batch.image.dtype == batch.mask.dtype == torch.float32
    assert 0 <= float(batch.image.min()) < float(batch.image.max()) <= 1
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}
    # As it was divided before it travelled.
    image = torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1).float() / 255
    assert torch.equal(batch.image[0], image)


def test_crops_come_from_the_photograph_or_its_mirror_image() -> None:
    pixels = photo()
    windows = {
        flipped[top : top + 128, left : left + 128].tobytes()
        for flipped in (pixels, pixels[:, ::-1])
        for top in range(150 - 128 + 1)
        for left in range(170 - 128 + 1)
    }
    for key in range(10):
        crop = draw_sample(pixels, key, 0, SETTINGS).image
        assert np.ascontiguousarray(crop).tobytes() in windows


def test_a_window_is_drawn_and_brought_to_the_crop() -> None:
    """The steepness of a ramp's crop shows how large its window was."""
    ramp = np.tile(np.arange(150, dtype=np.uint8), (150, 1))[..., None].repeat(3, axis=2)
    config = dataclasses.replace(SETTINGS, window_px=64)
    sides = []
    for key in range(200):
        crop, mask, _ = parts_of(draw_sample(ramp, key, 0, config))
        assert crop.shape == (128, 128, 3)
        assert mask.shape == (128, 128)
        sides.append(abs(int(crop[64, 127, 0]) - int(crop[64, 0, 0])))
    assert 60 <= min(sides) < 75
    assert 140 < max(sides) <= 150
    # All areas alike: of sides from 64 to 150 half are above 115.
    assert 105 < np.median(sides) < 125


def test_some_crops_have_other_colours() -> None:
    pixels = np.zeros((150, 150, 3), dtype=np.uint8) + np.array([10, 100, 200], dtype=np.uint8)
    config = dataclasses.replace(SETTINGS, recolour_share=0.25)
    colours = [draw_sample(pixels, key, 0, config).image[0, 0].tolist() for key in range(200)]
    changed = [colour for colour in colours if colour != [10, 100, 200]]
    assert 30 < len(changed) < 70
    assert len({tuple(np.argsort(colour)) for colour in changed}) == 6
    # By a gamma: black and white stay.
    white = np.full((150, 150, 3), 255, dtype=np.uint8)
    assert all(draw_sample(white, key, 0, config).image.min() == 255 for key in range(20))


def test_what_is_not_asked_for_draws_nothing() -> None:
    """A run that was begun before goes on as it was."""
    assert hash_of(draw_sample(photo(), 5, 1, settings_of(CONFIG, 2))) == DRAWN_BEFORE


def parts_of(sample: Sample) -> tuple[np.ndarray, np.ndarray, float]:
    return sample.image, sample.mask, sample.draw


def hash_of(sample: Sample) -> str:
    crop, mask, draw = parts_of(sample)
    parts = np.ascontiguousarray(crop).tobytes() + mask.tobytes() + str(draw).encode()
    return hashlib.sha256(parts).hexdigest()[:16]


def test_batches_of_shards_go_on_from_any_position(tmp_path: Path) -> None:
    reader = open_reader(pack_photos(tmp_path), 140)
    order = SampleOrder(reader.rows_per_part, seed=1, shuffle_parts=2, workers=1, batch_size=5)

    def batches(start: Position, count: int) -> list[PackedBatch]:
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
