"""Plans of ablations: what is refused, which runs a variant needs, and which are shared."""

from pathlib import Path

import pytest

from kintsugi.errors import ConfigError
from kintsugi.evaluation.ablations import ablation_plan
from kintsugi.evaluation.ablations.ablation_plan import (
    AblationPlan,
    AblationVariant,
    chosen,
    load_plan,
    needed_runs,
    runs_in_order,
)
from tests.kintsugi.training_runs import CONFIGS


@pytest.fixture
def plan(tmp_path: Path) -> AblationPlan:
    return AblationPlan(
        storage=str(tmp_path),
        stage1="debug-stage1.toml",
        stage2="debug-stage2.toml",
        end_to_end="debug-end-to-end.toml",
        variants=(AblationVariant("base"),),
        folder=CONFIGS,
    )


def runs_of(plan: AblationPlan, variant: AblationVariant) -> tuple[str, str]:
    needed = needed_runs(plan, variant)
    return needed.stage1.run, needed.stage2.run


@pytest.mark.parametrize("name", ["ablation", "ablation-debug"])
def test_the_shipped_plans_have_the_papers_questions(name: str) -> None:
    plan = load_plan(CONFIGS / f"{name}.toml")
    needed = [needed_runs(plan, variant) for variant in plan.variants]
    names = {each.variant.name for each in needed}
    assert names >= {"base", "coarse", "truth", "predictions", "end-to-end", "lsgan", "hinge"}
    assert names >= {"transposed", "keys-standardised", "keys-matched", "guard-3", "one-scale"}
    kinds = {each.stage1.losses.kind for each in needed}
    assert kinds == {"log", "lsgan", "hinge"}
    shares = {each.stage2.translate.prediction_share for each in needed}
    assert {0.0, 0.5, 1.0} <= shares
    # Those that change the match, the scales or the part have nothing of their own to train.
    assert len(runs_in_order(needed)) < 2 * len(needed) - 8


def test_variants_share_the_runs_that_they_do_not_change(plan: AblationPlan) -> None:
    base = runs_of(plan, AblationVariant("base"))
    for same in (
        AblationVariant("a", matching={"keys": "matched", "guard": 3}),
        AblationVariant("b", scales=1),
        AblationVariant("c", part="coarse"),
        AblationVariant("d", set=("loop.log_every=7",)),
    ):
        assert runs_of(plan, same) == base
    one, two = runs_of(plan, AblationVariant("e", stage2=("losses.kind=hinge",)))
    assert (one == base[0], two == base[1]) == (True, False)
    # What learns from predictions depends on who makes them, what learns from the truth does not.
    other = ("model.generator_upsampling=transposed",)
    truth = ("translate.prediction_share=0.0",)
    one, two = runs_of(plan, AblationVariant("f", stage1=other))
    assert (one == base[0], two == base[1]) == (False, False)
    alike = [
        runs_of(plan, AblationVariant("g", stage1=stage1, stage2=truth)) for stage1 in ((), other)
    ]
    assert alike[0][0] != alike[1][0]
    assert alike[0][1] == alike[1][1]
    assert runs_of(plan, AblationVariant("h", set=("loop.max_steps=7",)))[0] != base[0]


def test_a_key_that_configurations_get_later_leaves_the_runs_their_names(
    plan: AblationPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, now = runs_of(plan, AblationVariant("base")), ablation_plan.deciding_values
    monkeypatch.setattr(ablation_plan, "deciding_values", lambda c: now(c) | {"loop.later": 0})
    assert runs_of(plan, AblationVariant("base")) == before


def test_stage_1_comes_before_what_learns_from_it(plan: AblationPlan) -> None:
    variants = (AblationVariant("base"), AblationVariant("lsgan", set=("losses.kind=lsgan",)))
    runs = runs_in_order([needed_runs(plan, each) for each in variants])
    assert [config.stage for config in runs.values()] == ["stage1", "stage2"] * 2
    one, two = list(runs.values())[:2]
    assert two.translate.stage1 == f"{one.storage}/{one.run}"
    assert one.storage == f"{plan.storage}/runs"


def test_both_stages_at_once_are_one_run(plan: AblationPlan) -> None:
    needed = needed_runs(plan, AblationVariant("x", stages="end_to_end"))
    assert needed.stage1 is needed.stage2
    assert needed.stage1.stage == "end_to_end"


def test_some_variants_can_be_chosen(plan: AblationPlan) -> None:
    full = load_plan(CONFIGS / "ablation-debug.toml", ["loop.max_steps=3"])
    assert full.set[-1] == "loop.max_steps=3"
    assert [each.name for each in chosen(full, ["hinge", "base"]).variants] == ["hinge", "base"]
    with pytest.raises(ConfigError, match=r"--variants: 'magic' is none of base, coarse"):
        chosen(full, ["magic"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('storag = "x"', r"storag: "),
        ("[[variants]]\nname = 'a b'", r"variants\.0: name='a b': letters"),
        ("[[variants]]\nname = 'a'\n[[variants]]\nname = 'a'", r"'a' is there twice"),
        ("[[variants]]\nname = 'a'\nmatching = {keyz = 'x'}", r"variants\.0: matching: .*keyz"),
        ("[[variants]]\nname = 'a'\nfinishing = {shade = 1}", r"variants\.0\.finishing: "),
        ("[[variants]]\nname = 'a'\nmatching = {guard = -1}", r"guard=-1"),
        ("[[variants]]\nname = 'a'\nscales = 0", r"scales=0: at least 1"),
        ("variants = []", r"variants is empty"),
        ("= 3", r"is not TOML"),
    ],
)
def test_what_is_wrong_with_a_plan_is_named(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "plan.toml"
    base = "storage = 'x'\nstage1 = 'a'\nstage2 = 'b'\nend_to_end = 'c'\n"
    path.write_text(base + change)
    with pytest.raises(ConfigError, match=rf"plan\.toml.*{message}"):
        load_plan(path)
    with pytest.raises(ConfigError, match=r"no such file; jobs/configs has ablation\.toml"):
        load_plan(tmp_path / "none.toml")


def test_each_variant_is_trained_with_each_seed_and_shares_what_it_does_not_change() -> None:
    plan = load_plan(CONFIGS / "ablation-claims.toml")
    runs = runs_in_order([needed_runs(plan, variant) for variant in plan.variants])
    assert len(plan.variants) == 3 * 13
    assert len(runs) == 3 * 12
    assert sorted(config.seed for config in runs.values()) == [0] * 12 + [1] * 12 + [2] * 12
    picked = chosen(plan, ["coarse"])
    assert [variant.name for variant in picked.variants] == ["coarse.0", "coarse.1", "coarse.2"]
    assert runs_of(plan, picked.variants[1]) == runs_of(plan, chosen(plan, ["base"]).variants[1])
