"""A `recommended` training fitted to what is there: settings, hours, cost; and it goes on so."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kintsugi.config.run_config import JobConfig, load_config
from kintsugi.data.sample_photos import copy_sample_photos
from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs._command import CONFIGS, find_config
from kintsugi.jobs.pipeline import main
from kintsugi.release.pipeline import PipelineConfig, stages_of, steps
from kintsugi.release.sizing import (
    LEAST_CROPS,
    SIZE_NAME,
    Around,
    Machine,
    keep_size,
    kept_size,
    photographs_of,
    sized,
)

GPU = Machine(4, "NVIDIA A100", 80.0, 64, 30.0)
LAPTOP = Machine(0, "CPU", 0.0, 8, 0.2)
PLAN = PipelineConfig("recommended", "shards", "runs", "s3://releases/street", photos="photos")


@pytest.fixture(scope="module")
def configs() -> dict[str, JobConfig]:
    return {
        stage: load_config(find_config(f"recommended-{stage.replace('_', '-')}"), ())
        for stage in stages_of(PLAN, CONFIGS)
    }


def test_large_sets_of_photographs_train_as_the_configurations_say(
    configs: dict[str, JobConfig],
) -> None:
    one = replace(GPU, gpus=1, cores=32)
    size = sized(1_200_000, one, configs, 3.0)
    for stage, config in configs.items():
        for name, value in size.settings[stage].items():
            section, _, key = name.partition(".")
            assert value == getattr(getattr(config, section), key), name
    # As the comments of the configurations have it.
    assert 2 < size.hours["stage1"] < 4
    assert 3 < size.hours["stage2"] < 8
    assert size.cost == pytest.approx(3 * sum(size.hours.values()))


def test_encoder_and_evaluation_are_counted(configs: dict[str, JobConfig]) -> None:
    """By their own options: steps, photographs and sets of masks."""
    alone = sized(5_000, GPU, configs, 3.0)
    whole = sized(5_000, GPU, configs, 3.0, Around(20_000, 200, 2))
    encoder, evaluation = (
        whole.all_hours - sized(5_000, GPU, configs, 3.0, Around(0, 200, 2)).all_hours,
        200 * 2 * 2 / 3600,
    )
    assert encoder == pytest.approx(160_000 / 40 / 64 / 3600)
    assert whole.all_hours == pytest.approx(alone.all_hours + encoder + evaluation)
    assert whole.cost == pytest.approx(3 * 4 * whole.all_hours)
    said = "\n".join(whole.lines())
    assert "encoder: 160,000 crops in 20,000 steps of 8, about" in said
    assert "evaluation: 200 photographs with 2 sets of masks, about 13 minutes" in said
    assert said.index("encoder:") < said.index("initial_fill:") < said.index("evaluation:")
    assert "evaluation" not in "\n".join(alone.lines())
    # Without a GPU the line that compares with one counts them, too.
    assert "with one GPU" in sized(5_000, LAPTOP, configs, 3, Around(20_000, 200, 2)).lines()[-1]


def test_few_photographs_train_shorter_and_every_schedule_with_them(
    configs: dict[str, JobConfig],
) -> None:
    size = sized(1_000, GPU, configs, 2.0)
    for stage, config in configs.items():
        settings = size.settings[stage]
        seen = settings["loop.max_steps"] * settings["loop.batch_size"] * GPU.gpus
        assert seen == pytest.approx(480_000, rel=0.01)
        shorter = settings["loop.max_steps"] / config.loop.max_steps
        for name in ("optimizer.warmup_steps", "translate.truth_steps", "loop.checkpoint_every"):
            section, _, key = name.partition(".")
            assert settings[name] == pytest.approx(
                shorter * getattr(getattr(config, section), key), abs=1
            )
    assert sized(10, GPU, configs, 2.0).crops["stage1"] == LEAST_CROPS
    assert "2 an hour of a GPU" in size.lines()[-2]
    assert "kintsugi finetune small" in size.lines()[-1]


def test_small_gpus_get_small_batches_and_laptops_full_precision(
    configs: dict[str, JobConfig],
) -> None:
    batches = [
        sized(5_000, replace(GPU, gpus=1, gpu_gib=gib), configs, 3).settings["stage1"][
            "loop.batch_size"
        ]
        for gib in (80, 16, 6)
    ]
    assert batches == [16, 8, 4]
    size = sized(5_000, LAPTOP, configs, 3)
    assert size.settings["stage1"]["workers.use_gpu"] == "false"
    assert size.cost == 0
    assert "days; with one GPU about" in size.lines()[-1]


def test_what_it_says_is_what_the_jobs_are_started_with(configs: dict[str, JobConfig]) -> None:
    size = sized(3_000, LAPTOP, configs, 3)
    planned = {step.name: step for step in steps(replace(PLAN, settings=size.settings), CONFIGS)}
    for stage in configs:
        said = [
            value for flag, value in itertools.pairwise(planned[stage].flags) if flag == "--set"
        ]
        config = load_config(find_config(f"recommended-{stage.replace('_', '-')}"), said)
        assert config.loop.max_steps == size.settings[stage]["loop.max_steps"]
        assert config.compute.precision == "float32"
        assert not config.workers.use_gpu


def test_a_pipeline_goes_on_with_the_size_it_began_with(
    configs: dict[str, JobConfig], tmp_path: Path
) -> None:
    home = str(tmp_path)
    assert kept_size(home) is None
    size = sized(3_000, GPU, configs, 3)
    keep_size(home, size)
    assert kept_size(home) == size.settings
    assert json.loads((tmp_path / SIZE_NAME).read_text())["photographs"] == 3_000


def test_hours_are_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    copy_sample_photos(str(tmp_path / "photos"))
    places = [f"--{name}={tmp_path / name}" for name in ("photos", "shards", "runs", "output")]
    assert main([*places, "--tflops=0.5", "--held-out=0.25", "--dry-run"]) == DONE
    said = capsys.readouterr().out
    assert "pipeline: 6 photographs; CPU" in said
    assert "pipeline: stage2: 60,000 crops in" in said
    # Of eight a quarter is held out.
    assert "pipeline: evaluation: 2 photographs with 2 sets of masks, about 1 minutes" in said
    assert "pipeline: in all about" in said
    fewer = ["--tflops=0.5", "--held-out=0.25", "--limit=1", "--masks=thick-256", "--dry-run"]
    assert main([*places, *fewer]) == DONE
    assert "evaluation: 1 photograph with 1 set of masks" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no photographs in .*empty"):
        main([*places, f"--photos={tmp_path / 'empty'}", "--dry-run"])
    # Else it would be seen when all has been trained.
    with pytest.raises(ConfigError, match=r"none of the 8 photographs .* is held out"):
        main([*places, "--as-configured"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "photos"]
    capsys.readouterr()
    assert main([*places, "--held-out=0.25", "--as-configured", "--dry-run"]) == DONE
    assert "loop.max_steps" not in capsys.readouterr().out


def test_shards_say_how_many_there_are(tmp_path: Path) -> None:
    from kintsugi.data.shard_writer import write_shards

    copy_sample_photos(str(tmp_path / "photos"))
    write_shards(str(tmp_path / "photos"), str(tmp_path / "shards"))
    assert photographs_of("", str(tmp_path / "shards"), 0.5) == 8
