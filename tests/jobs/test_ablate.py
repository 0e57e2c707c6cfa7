"""jobs/ablate.py from the command line: what it hands on, and its exit codes."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kintsugi.evaluation.ablations import ablation
from kintsugi.evaluation.ablations.ablation import Interrupted
from kintsugi.evaluation.ablations.ablation_plan import AblationPlan
from kintsugi.jobs import _bootstrap
from kintsugi.jobs.ablate import main
from kintsugi.train import local
from tests.kintsugi.training_runs import CONFIGS


@dataclass
class Asked:
    """What the job wants done, in the place of doing it."""

    plan: AblationPlan | None = None
    fit: Any = None
    output: str = ""
    error: Exception | None = None

    def __call__(self, plan: AblationPlan, fit: Any, output: str) -> "Asked":
        self.plan, self.fit, self.output = plan, fit, output
        if self.error is not None:
            raise self.error
        return self

    def to_dict(self) -> dict[str, Any]:
        return {"variants": []}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(ablation, "ablate", asked)
    return asked


def test_flags_stand_over_the_plan(asked: Asked, tmp_path: Path) -> None:
    words = ["--without-ray", "--variants", "coarse,base", "--limit", "2", "--photos", "s3://p"]
    words += ["--masks", "thin-256,center-96-256", "--encoder", "random"]
    words += ["--set", "loop.max_steps=3", "--json", str(tmp_path / "figures.json")]
    assert main(words) == _bootstrap.DONE
    plan = asked.plan
    assert plan is not None
    assert [each.name for each in plan.variants] == ["coarse", "base"]
    assert (plan.limit, plan.photos, plan.set[-1]) == (2, "s3://p", "loop.max_steps=3")
    assert plan.encoder == "random"
    assert plan.masks == ("thin-256", "center-96-256")
    assert asked.fit is local.fit
    assert asked.output == f"{plan.storage}/table"
    assert (tmp_path / "figures.json").exists()
    assert main(["--without-ray", "--config", str(CONFIGS / "ablation.toml")]) == _bootstrap.DONE
    assert asked.plan is not None
    assert (asked.plan.limit, asked.plan.photos) == (200, "s3://photos/test")
    assert asked.plan.encoder is None


def test_a_run_that_was_stopped_has_the_exit_code_of_a_stopped_job(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.error = Interrupted("stopped at step 3 of stage1-abc")
    assert main(["--without-ray"]) == _bootstrap.STOPPED
    assert "stage1-abc: start it again to go on" in capsys.readouterr().out


def test_an_unknown_variant_is_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs/ablate.py", "--variants", "magic"])
    with pytest.raises(SystemExit) as end:
        _bootstrap.run(main)
    assert end.value.code == _bootstrap.USAGE
