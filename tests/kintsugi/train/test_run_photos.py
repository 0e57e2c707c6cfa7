"""What is held out is shared among ranks, and shown as it is."""

import dataclasses
from pathlib import Path

import pytest
import torch

from kintsugi.config.run_config import JobConfig, parse_config
from kintsugi.config.sections import HeldOutSection
from kintsugi.data.batches import Batch
from kintsugi.errors import ConfigError
from kintsugi.runs.warm_start import check_run
from kintsugi.train.run_photos import held_out_batches
from tests.kintsugi.training_runs import debug_config, pack_photos


def config_of(folder: Path) -> JobConfig:
    pack_photos(folder, count=30, held_out_share=0.3)
    config = debug_config(folder)
    return dataclasses.replace(config, held_out=HeldOutSection(photos=5))


def rows(batches: list[Batch]) -> dict[int, torch.Tensor]:
    return {
        int(key): image
        for batch in batches
        for key, image in zip(batch.keys, batch.image, strict=True)
    }


def test_ranks_share_what_one_process_measures_on(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    alone, spare = held_out_batches(config, 0, 1)
    assert not spare
    assert len(rows(alone)) == 5
    parts = [held_out_batches(config, rank, 3) for rank in range(3)]
    assert [spare for _, spare in parts] == [False] * 3
    assert [len(rows(part)) for part, _ in parts] == [2, 2, 1]
    shared = {key: image for part, _ in parts for key, image in rows(part).items()}
    assert shared.keys() == rows(alone).keys()
    assert all(torch.equal(shared[key], image) for key, image in rows(alone).items())


def test_a_rank_for_which_none_is_left_has_a_spare_one(tmp_path: Path) -> None:
    part, spare = held_out_batches(config_of(tmp_path), 6, 8)
    assert spare
    assert len(rows(part)) == 1


def test_what_is_measured_on_is_not_changed_as_crops_are(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    changing = dataclasses.replace(config.data, window_px=64, recolour_share=1.0)
    plain, _ = held_out_batches(config, 0, 1)
    same, _ = held_out_batches(dataclasses.replace(config, data=changing), 0, 1)
    assert all(torch.equal(rows(same)[key], image) for key, image in rows(plain).items())


def test_every_number_of_workers_of_an_elastic_run_shares_a_step_evenly(tmp_path: Path) -> None:
    """Else the run would end at the first node that is lost: three of four workers are left."""
    pack_photos(tmp_path)

    def check(whole: int, count: int, least: int) -> None:
        config = debug_config(tmp_path, global_batch=whole)
        workers = dataclasses.replace(config.workers, count=count, min_count=least)
        config = dataclasses.replace(config, workers=workers)
        # What was accepted once can still be read.
        assert parse_config(config.to_dict(), "test") == config
        check_run(config)

    with pytest.raises(ConfigError, match=r"global_batch=8 is not shared out evenly among 3 work"):
        check(8, 4, 2)
    with pytest.raises(ConfigError, match="among 4 workers"):
        check(6, 4, 0)
    check(12, 4, 2)
    check(8, 4, 0)
    check(0, 4, 1)
