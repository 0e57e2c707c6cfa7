"""An ablation: trains what its variants lack, publishes and evaluates all alike; knows no Ray.

The caller says how a run is trained: `kintsugi.train.ray_trainer.fit` or
`kintsugi.train.local.fit`. Runs that are trained are kept, and fills that are made are found by
their content. So the same command goes on where it was ended, and adds variants to a table.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kintsugi.errors import ConfigError
from kintsugi.evaluation.ablations.ablation_plan import (
    AblationPlan,
    AblationVariant,
    Needed,
    needed_runs,
    runs_in_order,
)
from kintsugi.evaluation.ablations.ablation_table import format_ablation
from kintsugi.evaluation.ablations.paired import format_differences, paired_differences
from kintsugi.evaluation.comparison import (
    ProgressLines,
    Provenance,
    compare,
    open_comparison,
    write_report,
)
from kintsugi.evaluation.entrants import Computed, Entrant
from kintsugi.evaluation.evaluate import Comparison
from kintsugi.evaluation.method_names import RELEASE, specs_of
from kintsugi.evaluation.request import EvaluationRequest
from kintsugi.inference.methods import CoarseFill, ReleaseMethod
from kintsugi.models.plan.fill_plan import FillOptions
from kintsugi.release.publish import publish
from kintsugi.runs.run import Fit, Trained
from kintsugi.storage.storage import Storage


class Interrupted(Exception):
    """A run was asked to end before its last step; what it has done is kept."""


@dataclass(frozen=True)
class Ablation:
    """What came of a plan: ``figures`` as kintsugi evaluate has them, and the runs behind them."""

    plan: AblationPlan
    needed: Sequence[Needed]
    # By the names of the runs.
    trained: Mapping[str, Trained]
    figures: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types: `ablation.json`."""
        runs = {
            name: {
                "uri": self.trained[name].run,
                "steps": self.trained[name].last_step,
                "config": config.to_dict(),
            }
            for name, config in runs_in_order(self.needed).items()
        }
        variants = [
            {**asdict(each.variant), "runs": {"stage1": each.stage1.run, "stage2": each.stage2.run}}
            for each in self.needed
        ]
        plain: dict[str, Any] = json.loads(
            json.dumps({"variants": variants, "runs": runs, "evaluation": self.figures})
        )
        return plain


def ablate(plan: AblationPlan, fit: Fit, output: str) -> Ablation:
    """Train, publish, evaluate, write.

    Args:
        plan: What is compared.
        fit: Trains one run to its end, from wherever it stands.
        output: URI of a folder for ablation.json and ablation.md, and next to them what
            kintsugi evaluate writes.

    Raises:
        ConfigError: a variant or a base configuration is impossible.
        Interrupted: a run was asked to end early.
        KintsugiError: as training and evaluation do.
    """
    needed = [needed_runs(plan, variant) for variant in plan.variants]
    _check_names(plan)
    trained = _train(needed, fit)
    releases = {each.variant.name: _publish(plan, each) for each in needed}
    comparison, provenance = _open(plan, releases)
    results, figures = compare(
        plan.photos,
        comparison,
        provenance,
        limit=plan.limit,
        held_out=plan.held_out,
        report=ProgressLines(),
    )
    ablation = Ablation(plan, needed, trained, figures)
    write_report(output, results, figures)
    target = Storage(output)
    plain = ablation.to_dict()
    page = format_ablation(plain)
    if differences := paired_differences(results, plan):
        page += f"\n## Against the base\n\n{format_differences(differences)}\n"
    target.write("ablation.md", page.encode())
    target.write("ablation.json", (json.dumps(plain, indent=1) + "\n").encode())
    print(f"wrote {target.uri}/ablation.json, ablation.md")
    return ablation


def _check_names(plan: AblationPlan) -> None:
    """Before hours of training. Raises: ConfigError."""
    for label in specs_of(plan.methods):
        if label in {variant.name for variant in plan.variants}:
            raise ConfigError(f"methods: {label!r} is a variant's name as well: rename one")


def _train(needed: Sequence[Needed], fit: Fit) -> dict[str, Trained]:
    runs = runs_in_order(needed)
    trained: dict[str, Trained] = {}
    for number, (name, config) in enumerate(runs.items(), 1):
        users = [each.variant.name for each in needed if name in (each.stage1.run, each.stage2.run)]
        print(f"run {number} of {len(runs)}: {name}, for {', '.join(users)}", flush=True)
        done = trained[name] = fit(config)
        if done.stopped:
            raise Interrupted(f"stopped at step {done.last_step} of {name}")
        print(f"  steps {done.first_step} to {done.last_step}", flush=True)
    return trained


def _publish(plan: AblationPlan, needed: Needed) -> str:
    """Returns: URI of the variant's release."""
    one, two = (f"{config.storage}/{config.run}" for config in (needed.stage1, needed.stage2))
    variant = needed.variant
    output = f"{plan.storage}/releases/{variant.name}"
    return publish(one, two, output, name=variant.name, matching=variant.matching).uri


def _open(plan: AblationPlan, releases: Mapping[str, str]) -> tuple[Comparison, Provenance]:
    first = next(iter(releases.values()))
    request = EvaluationRequest(
        methods=[*(f"{name}={RELEASE}{uri}" for name, uri in releases.items()), *plan.methods],
        masks=plan.masks,
        # Whose encoder judges where the plan names none.
        release=first,
        encoder=plan.encoder,
        seed=plan.seed,
        cache=f"{plan.storage}/fills",
    )
    comparison, provenance = open_comparison(request)
    entrants = dict(comparison.entrants)
    for variant in plan.variants:
        entrants[variant.name] = _as_wanted(entrants[variant.name], variant)
    identities = {name: entrant.identity for name, entrant in entrants.items()}
    return replace(comparison, entrants=entrants), replace(provenance, identities=identities)


def _as_wanted(entrant: Entrant, variant: AblationVariant) -> Entrant:
    """A release as its variant fills with it."""
    if variant.part == "whole" and variant.scales == "auto":
        return entrant
    assert isinstance(entrant, Computed)
    assert isinstance(entrant.method, ReleaseMethod)
    kind = CoarseFill if variant.part == "coarse" else ReleaseMethod
    method = kind(entrant.method.inpainter, FillOptions(scales=variant.scales))
    return Computed(method, f"{entrant.identity} {variant.part} scales {variant.scales}")
