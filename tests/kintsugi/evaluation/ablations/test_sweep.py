"""A sweep draws values, trains a run for each, and names the best."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import LossSection
from kintsugi.errors import ConfigError
from kintsugi.evaluation.ablations.sweep import (
    RANGES,
    SweepRequest,
    Trial,
    held_out_loss,
    parse_ranges,
    ranked,
    sweep,
    table,
    trial_config,
)
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.storage.storage import Storage
from tests.kintsugi.data.mask_files.pictures_of_masks import write_masks
from tests.kintsugi.training_runs import debug_config, pack_photos


def measured(folder: Path, **loop: int) -> JobConfig:
    config = debug_config(folder, batch_size=1, **loop)
    return dataclasses.replace(config, held_out=dataclasses.replace(config.held_out, photos=2))


def with_masks(config: JobConfig, masks: str) -> JobConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, masks=(masks,)))


def test_ranges_are_read_and_what_is_none_is_refused() -> None:
    assert parse_ranges(RANGES)["losses.adversarial"] == (0.01, 1)
    for word in ("a.b", "a.b=1", "a.b=2:1", "a.b=0:1", "=1:2", "a.b=1:inf", "a.b=x:1"):
        with pytest.raises(ConfigError, match=r"--range .* write it as section.key=LEAST:MOST"):
            parse_ranges([word])


def test_a_trial_is_a_run_that_its_values_name(tmp_path: Path) -> None:
    config = measured(tmp_path)
    values = {"optimizer.generator_lr": 0.25, "losses.pixels": 3.0}
    trial = trial_config(config, values)
    assert (trial.optimizer.generator_lr, trial.losses.pixels) == (0.25, 3.0)
    assert trial.run == trial_config(config, dict(reversed(values.items()))).run
    assert trial.run != trial_config(config, {**values, "losses.pixels": 2.0}).run
    alike = dataclasses.replace(
        trial, run=config.run, optimizer=config.optimizer, losses=config.losses
    )
    assert alike == config, "nothing else differs"
    with pytest.raises(ConfigError, match=r"a trial with .*losses.pixel: unknown key"):
        trial_config(config, {"losses.pixel": 1.0})


def test_a_sweep_that_could_compare_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"held_out\.photos=0: a sweep compares held-out losses"):
        SweepRequest(debug_config(tmp_path), parse_ranges(RANGES))
    with pytest.raises(ConfigError, match="--at-once 0: at least 1"):
        SweepRequest(measured(tmp_path), parse_ranges(RANGES), at_once=0)


def test_losses_are_compared_without_their_weights() -> None:
    row = {"held_out/perceptual": 6.0, "held_out/adversarial": 1.0}
    assert held_out_loss(row, LossSection(perceptual=3.0)) == 2.0
    assert held_out_loss({"loss/perceptual": 6.0}, LossSection()) is None
    filled = {"held_out/reconstruction": 6.0, "held_out/fill_perceptual": 1.0}
    assert held_out_loss(filled, LossSection(fill_perceptual=2.0)) == 0.5
    with pytest.raises(ConfigError, match=r"losses\.perceptual=0: a sweep compares"):
        held_out_loss(row, LossSection(perceptual=0.0))


def test_losses_of_one_step_are_compared() -> None:
    early, best, worse = (
        Trial(str(step), {}, step, loss) for step, loss in ((6, 1.0), (24, 1.1), (24, 1.2))
    )
    diverged = Trial("d", {}, 24, math.inf)
    assert ranked([early, diverged, worse, best]) == [best, worse, early, diverged]


def test_the_table_has_a_row_for_each_trial() -> None:
    trials = [Trial("a", {"losses.pixels": 0.1234}, 4, 1.5), Trial("b", {}, 2, math.inf)]
    assert table(trials[:1]).splitlines() == [
        "| run | losses.pixels | step | held-out loss |",
        "| --- | --- | --- | --- |",
        "| a | 0.123 | 4 | 1.5000 |",
    ]


@pytest.mark.ray
@pytest.mark.parametrize("asked", [{"cpus": 1e6}, {"use_gpu": True}])
def test_trials_that_no_node_has_room_for_are_refused_before_anything_starts(
    local_ray: object, tmp_path: Path, asked: dict[str, Any]
) -> None:
    config = measured(tmp_path)
    config = dataclasses.replace(config, workers=dataclasses.replace(config.workers, **asked))
    # The nodes are asked first: there are no shards.
    with pytest.raises(ConfigError, match=r"a trial takes .* the largest of the cluster's 1 nodes"):
        sweep(SweepRequest(config, parse_ranges(RANGES), trials=1))


@pytest.mark.ray
def test_a_bad_mask_ends_a_sweep_before_its_trials(local_ray: object, tmp_path: Path) -> None:
    pack_photos(tmp_path, count=4, held_out_share=0.3)
    masks = write_masks(tmp_path / "masks", 2)
    (Path(masks) / "000.png").write_bytes(b"no picture")
    config = with_masks(measured(tmp_path), masks)
    with pytest.raises(ConfigError, match=r"data\.masks: .*000\.png is no mask to train with"):
        sweep(SweepRequest(config, parse_ranges(RANGES), trials=1))


@pytest.mark.ray
@pytest.mark.slow
# Ray Tune's own.
@pytest.mark.filterwarnings("ignore")
def test_three_trials_end_and_the_same_sweep_trains_nothing_again(
    local_ray: object, tmp_path: Path
) -> None:
    pack_photos(tmp_path, held_out_share=0.3)
    masks = write_masks(tmp_path / "masks", 2)
    config = with_masks(measured(tmp_path, max_steps=4, checkpoint_every=1), masks)
    ranges = parse_ranges(["optimizer.generator_lr=1e-4:1e-2", "losses.perceptual=1:100"])
    request = SweepRequest(config, ranges, trials=3)
    trials = sweep(request)
    assert len({trial.run for trial in trials}) == 3
    assert trials[0].step == 4, "the best was trained to the end"
    finished = {}
    for trial in trials:
        run = Run(Storage(config.storage).join(trial.run))
        assert run.config().losses.perceptual == trial.values["losses.perceptual"]
        rows = read_metrics(run.storage.join("metrics"))
        (row,) = [row for row in rows if row["step"] == trial.step]
        assert held_out_loss(row, run.config().losses) == pytest.approx(trial.loss)
        if trial.step == 4:
            finished[trial.run] = rows
    kept = [_masks_of(config, trial) for trial in trials]
    assert kept[0]["masks"] == 2
    assert kept == [kept[0]] * 3, "the same masks, read from the same place"
    assert kept[0]["uri"] != masks
    # All later trials, too, have the masks that the sweep began with.
    shutil.rmtree(masks)
    again = sweep(request)
    # Who is behind when is a matter of arrival; what is drawn and what is done are not.
    assert {trial.run for trial in again} == {trial.run for trial in trials}
    for name, rows in finished.items():
        metrics = Run(Storage(config.storage).join(name)).storage.join("metrics")
        assert read_metrics(metrics) == rows, "it was trained again"


def _masks_of(config: JobConfig, trial: Trial) -> dict[str, Any]:
    (masks,) = json.loads(Storage(config.storage).read(f"{trial.run}/inputs.json"))["masks"]
    found: dict[str, Any] = masks
    return found
