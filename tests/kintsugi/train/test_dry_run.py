"""A dry run takes the step that the run would take, shows what it needs, and leaves nothing."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from kintsugi.config.run_config import JobConfig, load_config
from kintsugi.errors import ConfigError, StorageError
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.storage.storage import Storage
from kintsugi.train.dry_run import describe, dry_run
from kintsugi.train.worker import build_stage, train_locally
from tests.kintsugi.data.mask_files.pictures_of_masks import write_masks
from tests.kintsugi.training_runs import debug_config, losses, pack_photos


def snapshot(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def with_workers(config: JobConfig, count: int) -> JobConfig:
    workers = dataclasses.replace(config.workers, count=count, min_count=count - 1)
    return dataclasses.replace(config, workers=workers)


@pytest.mark.slow
def test_the_step_is_the_runs_first_and_nothing_is_written(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path)
    before = snapshot(tmp_path)
    done = dry_run(with_workers(config, 3))
    assert snapshot(tmp_path) == before
    run = train_locally(config)
    whole = read_metrics(run.storage.join("metrics"))
    assert losses([done.row]) == losses(whole)[:1]
    stage = build_stage(config)
    assert done.parameters == {
        "generator": sum(p.numel() for p in stage.generator.parameters()),
        "discriminator": sum(p.numel() for p in stage.discriminator.parameters()),
    }
    step = Storage(f"{run.storage.uri}/checkpoints/step-00000002")
    assert done.checkpoint_bytes == pytest.approx(sum(step.sizes().values()), rel=0.01)
    assert (done.run, done.resumes) == (run.storage.uri, 0)
    assert dry_run(config).resumes == config.loop.max_steps


@pytest.mark.slow
def test_a_mask_of_no_use_ends_it_as_it_would_end_the_run(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    masks = tmp_path / "masks"
    config = debug_config(tmp_path)
    data = dataclasses.replace(config.data, masks=(write_masks(masks), "thick"))
    config = dataclasses.replace(config, data=data)
    assert dry_run(config).config == config
    (masks / "000.png").write_bytes(b"no picture")
    for attempt in (dry_run, train_locally):
        with pytest.raises(ConfigError, match=r"data\.masks: .*000\.png is no mask to train with"):
            attempt(config)


@pytest.mark.slow
def test_it_prints_the_merged_configuration_as_toml_and_what_the_step_took(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    done = dry_run(with_workers(debug_config(tmp_path), 3))
    text = describe(done)
    (tmp_path / "merged.toml").write_text(text)
    assert load_config(tmp_path / "merged.toml") == done.config
    assert tomllib.loads(text)["workers"]["count"] == 3
    for words in (
        f"# generator: {done.parameters['generator']:,} parameters",
        f"2 photographs on cpu: {done.row['step_seconds']:.2f} s",
        f"{done.row['memory_mib']:.0f} MiB of memory",
        f"perceptual {done.row['loss/perceptual']:.4f}",
        "The run would start at step 0 with 3 workers, to step 3, and write into",
        f"#   {tmp_path}/runs/debug-stage1/checkpoints",
    ):
        assert words in text


@pytest.mark.slow
def test_predictions_are_mixed_in_from_the_first_step(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    train_locally(debug_config(tmp_path, max_steps=1))
    config = debug_config(tmp_path, "stage2")
    late = dataclasses.replace(config.translate, prediction_share=1.0, truth_steps=1000)
    now = dataclasses.replace(late, truth_steps=0)
    one, other = (
        dry_run(dataclasses.replace(config, translate=translate)) for translate in (late, now)
    )
    assert losses([one.row]) == losses([other.row])
    assert not Run.of(config).storage.list()


@pytest.mark.slow
def test_where_there_are_no_shards_yet_a_few_photographs_do(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path)
    photos = str(tmp_path / "photos")
    data = dataclasses.replace(config.data, shards=str(tmp_path / "none"), photos=photos)
    done = dry_run(dataclasses.replace(config, data=data))
    assert done.row["step"] == 1
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").mkdir()
    data = dataclasses.replace(data, photos=str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=rf"no photographs in {tmp_path}/empty"):
        dry_run(dataclasses.replace(config, data=data))
    with pytest.raises(StorageError, match="pack them first"):
        dry_run(dataclasses.replace(config, data=dataclasses.replace(data, photos="")))


@pytest.mark.slow
def test_another_configuration_than_that_of_the_run_is_refused(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=1)
    train_locally(config)
    with pytest.raises(ConfigError, match="other values of seed"):
        dry_run(dataclasses.replace(config, seed=5))
