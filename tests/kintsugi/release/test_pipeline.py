"""The pipeline's plan against the jobs it names, its gate, and where it goes on."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from kintsugi.config.run_config import JobConfig, load_config
from kintsugi.errors import ConfigError
from kintsugi.jobs._command import CONFIGS, find_config
from kintsugi.release.pipeline import (
    Finished,
    PipelineConfig,
    PipelineStep,
    failures,
    promotion,
    steps,
)
from kintsugi.storage.storage import Storage

PLAN = PipelineConfig(
    "recommended",
    shards="s3://shards/train",
    runs="s3://runs",
    output="s3://releases/street",
    photos="s3://photos",
    teacher="torchvision",
    workers=4,
    least=2,
    metrics=(8090, "0.0.0.0"),
)


def flags_of(step: PipelineStep) -> dict[str, str]:
    """Values by flag; of one that is repeated the last."""
    return dict(itertools.pairwise(step.flags))


def config_of(step: PipelineStep) -> JobConfig:
    """The configuration with which a step trains."""
    said = list(itertools.pairwise(step.flags))
    overrides = [value for flag, value in said if flag == "--set"]
    return load_config(find_config(flags_of(step)["--config"]), overrides)


def test_it_goes_from_photographs_to_an_evaluation() -> None:
    names = [step.name for step in steps(PLAN, CONFIGS)]
    assert names == [
        *("shards", "encoder", "initial_fill", "stage1", "stage2"),
        *("candidate", "evaluation"),
    ]


@pytest.mark.parametrize("flavour", ["recommended", "paper", "debug"])
def test_each_step_reads_what_the_step_before_wrote(flavour: str) -> None:
    plan = PipelineConfig(**{**vars(PLAN), "flavour": flavour})
    by_name = {step.name: step for step in steps(plan, CONFIGS)}
    # The paper has no initial fill.
    names = [*(["initial_fill"] if flavour != "paper" else []), "stage1", "stage2"]
    stages = {name: config_of(by_name[name]) for name in names}
    encoder = flags_of(by_name["encoder"])["--output"]
    for name, config in stages.items():
        assert config.stage == name
        assert config.data.shards == flags_of(by_name["shards"])["--output"]
        assert config.encoder == f"{encoder}/encoder.safetensors"
        assert (config.workers.count, config.workers.min_count) == (4, 2)
        assert config.workers.autoscaling
    runs = {name: f"{config.storage}/{config.run}" for name, config in stages.items()}
    assert stages["stage2"].translate.stage1 == runs["stage1"]
    published = flags_of(by_name["candidate"])
    assert published["--stage1"] == runs["stage1"]
    assert published["--stage2"] == runs["stage2"]
    assert published.get("--initial-fill") == runs.get("initial_fill")
    # Else the candidate is refused when all has been trained.
    joined = "--initial-fill" in published
    assert joined == (stages["stage1"].model.generator_input != "grey")
    assert stages["stage2"].model.generator_input == stages["stage1"].model.generator_input
    evaluated = flags_of(by_name["evaluation"])
    assert evaluated["--release"] == published["--output"]
    # What is evaluated on was trained on by no step.
    for name in ("shards", "encoder", "evaluation"):
        assert flags_of(by_name[name])["--held-out"] == "0.02"
    last = promotion(plan, "results.json")
    assert flags_of(last)["--stage1"] == published["--output"]
    assert flags_of(last)["--output"] == plan.output


def test_two_pipelines_in_one_bucket_share_no_run() -> None:
    other = PipelineConfig(**{**vars(PLAN), "output": "s3://releases/sea"})
    runs = [
        {config_of(step).run for step in steps(plan, CONFIGS) if step.job.startswith("train_s")}
        for plan in (PLAN, other)
    ]
    assert runs[0] & runs[1] == set()
    assert PLAN.home != other.home


def figures(**distances: float) -> dict[str, Any]:
    rows = [
        {"masks": "center", "method": name, "realism": {"layers": {"relu3_1": {"distance": each}}}}
        for name, each in distances.items()
    ]
    return {"masks": {"center": {}}, "rejects": {}, "figures": rows}


def test_a_candidate_is_good_when_it_is_no_farther_than_its_rivals() -> None:
    assert failures(figures(ours=0.2, telea=0.3), PLAN) == []
    (reason,) = failures(figures(ours=0.4, telea=0.3), PLAN)
    assert reason == "center: distance relu3_1 is 0.400, above 1 x telea's 0.300"
    wide = PipelineConfig(**{**vars(PLAN), "margin": 1.5})
    assert failures(figures(ours=0.4, telea=0.3), wide) == []


def test_a_fill_that_is_missing_fails_the_candidate() -> None:
    found = figures(ours=0.2, telea=0.3)
    found["figures"][0]["problems"] = {"a.jpg": "out of memory"}
    found["rejects"] = {"b.jpg": "no image"}
    assert failures(found, PLAN) == ["b.jpg: no image", "center: no fill of a.jpg: out of memory"]
    del found["figures"][0]["problems"], found["figures"][0]["realism"]
    found["rejects"] = {}
    assert failures(found, PLAN) == ["center: no distance of relu3_1, which telea has"]


def test_it_goes_on_where_it_stood(tmp_path: Path) -> None:
    planned, finished = steps(PLAN, CONFIGS), Finished(Storage(tmp_path))
    assert finished.count(planned) == 0
    finished.write(planned[:3])
    assert Finished(Storage(tmp_path)).count(planned) == 3
    # Another command is another step, and so is all after it.
    other = steps(PipelineConfig(**{**vars(PLAN), "held_out": 0.1}), CONFIGS)
    assert finished.count(other) == 0
    more = steps(PipelineConfig(**{**vars(PLAN), "workers": 8}), CONFIGS)
    assert finished.count(more) == 2


def test_contradictions_are_refused_with_their_values() -> None:
    with pytest.raises(ConfigError, match="--least 8 is more than --workers 4"):
        steps(PipelineConfig(**{**vars(PLAN), "least": 8}), CONFIGS)
    with pytest.raises(ConfigError, match="--teacher needs --photos"):
        steps(PipelineConfig(**{**vars(PLAN), "photos": ""}), CONFIGS)
