"""A whole ablation: it trains what is missing, goes on where it was ended, and says how little."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kintsugi.config.run_config import JobConfig
from kintsugi.errors import ConfigError
from kintsugi.evaluation.ablations.ablation import Interrupted, ablate
from kintsugi.evaluation.ablations.ablation_plan import AblationPlan, AblationVariant
from kintsugi.runs.run import Trained
from kintsugi.train import local
from tests.kintsugi.training_runs import CONFIGS, pack_photos

pytestmark = pytest.mark.usefixtures("no_ray")

VARIANTS = (
    AblationVariant("base"),
    AblationVariant("coarse", "G1 alone", part="coarse"),
    AblationVariant("matched", matching={"keys": "matched"}, scales=1),
    AblationVariant("hinge", stage2=("losses.kind=hinge",)),
)


@pytest.fixture
def plan(tmp_path: Path) -> AblationPlan:
    shards = pack_photos(tmp_path, count=4)
    quick = (
        "encoder=random",
        "loop.max_steps=1",
        "loop.batch_size=1",
        "loop.sample_every=0",
        "workers.threads=1",
    )
    return AblationPlan(
        storage=str(tmp_path / "ablation"),
        stage1="debug-stage1.toml",
        stage2="debug-stage2.toml",
        end_to_end="debug-end-to-end.toml",
        variants=VARIANTS,
        set=(*quick, f"data.shards={shards}", "data.photos=''", "data.resize_px=128"),
        photos=str(tmp_path / "photos"),
        limit=2,
        masks=("center-32-64",),
        methods=("telea",),
        encoder="random",
        folder=CONFIGS,
    )


class Trainer:
    """Trains as the job does without Ray, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Trained] = []

    def __call__(self, config: JobConfig) -> Trained:
        self.asked.append(local.fit(config))
        return self.asked[-1]


@pytest.mark.slow
def test_variants_are_trained_published_and_compared_and_nothing_is_done_twice(
    plan: AblationPlan, tmp_path: Path
) -> None:
    output = tmp_path / "table"
    trainer = Trainer()
    some = replace(plan, variants=VARIANTS[:3])
    done = ablate(some, trainer, str(output))
    # One stage 1 and one stage 2 serve all three.
    assert [(each.first_step, each.last_step) for each in trainer.asked] == [(0, 1)] * 2
    rows = {row["method"]: row["metrics"] for row in done.figures["figures"]}
    assert list(rows) == ["base", "coarse", "matched", "telea"]
    assert rows["base"] != rows["coarse"]
    assert (
        done.figures["releases"]["base"]["digest"] == done.figures["releases"]["coarse"]["digest"]
    )
    identities = {done.figures["methods"][name] for name in ("base", "coarse", "matched")}
    assert len(identities) == 3
    # The plan's, not that of a release, which has no seed in its name.
    assert done.figures["vgg_encoder"] == "random (seed 0)"
    # Again, with one more: its stage 2 alone is trained, and what was filled is kept.
    again = ablate(plan, trainer, str(output))
    assert [(each.first_step, each.last_step) for each in trainer.asked[2:]] == [
        (1, 1),
        (1, 1),
        (0, 1),
    ]
    kept = {row["method"]: row["kept"] for row in again.figures["times"]}
    assert kept == {"base": 2, "coarse": 2, "matched": 2, "hinge": 0, "telea": 2}
    assert again.figures["figures"][:3] == done.figures["figures"][:3]
    plain = json.loads((output / "ablation.json").read_text())
    assert plain == again.to_dict()
    assert plain["variants"][3]["runs"]["stage1"] == plain["variants"][0]["runs"]["stage1"]
    page = (output / "ablation.md").read_text()
    assert "size tiny, encoder random; steps of training: stage1 1, stage2 1" in page
    assert "2 photographs of" in page
    cells = {line.split(" | ")[0]: line.split(" | ") for line in page.splitlines()}
    assert cells["| coarse"][1:3] == ["G1 alone", "1"]
    assert cells["| matched"][1:3] == ["keys=matched", "1 + 1"]
    assert cells["| hinge"][1] == "losses.kind=hinge"
    assert cells["| telea"][1:3] == ["not ours", "-"]
    assert (output / "grid.png").exists()


def test_a_run_that_is_asked_to_end_ends_the_ablation(plan: AblationPlan, tmp_path: Path) -> None:
    def stopped(config: JobConfig) -> Trained:
        return Trained("run", 0, 3, True, [])

    with pytest.raises(Interrupted, match="stopped at step 3 of stage1-"):
        ablate(plan, stopped, str(tmp_path / "table"))
    assert not (tmp_path / "table").exists()


@pytest.mark.slow
def test_names_that_clash_are_refused_before_anything_is_trained(
    plan: AblationPlan, tmp_path: Path
) -> None:
    def never(config: JobConfig) -> Trained:
        pytest.fail("it trains")

    for methods, message in ((("base=telea",), "'base' is a variant's"), (("magic",), "not known")):
        with pytest.raises(ConfigError, match=message):
            ablate(replace(plan, methods=methods), never, str(tmp_path))
