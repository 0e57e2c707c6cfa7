"""k8s/README.md against the manifests: values, Secrets, commands."""

import re

import pytest

from tests.k8s.manifests import K8S, ROOT, environment, of_kind, render, render_text
from tests.k8s.strict_checker import SECRETS

README = (K8S / "README.md").read_text()
COMMANDS = dict(
    zip(("local", "production"), re.findall(r"```sh\n(.*?)```", README, re.DOTALL), strict=True)
)


def test_names_every_secret_and_its_keys() -> None:
    for name, keys in SECRETS.items():
        for word in (name, *keys):
            assert f"`{word}`" in README, word


def test_names_every_value_that_is_an_example() -> None:
    """What nobody could use as it is: whoever applies it must know where to change it."""
    text = render_text("overlays/production") + render_text("overlays/production/jobs")
    examples = set(
        re.findall(
            r"arn:aws:iam::0+:role/[\w-]+|[\w.-]*example\.com(?:/[\w-]+)?|example-[\w-]+", text
        )
    )
    assert len(examples) > 6
    for example in examples:
        tail = example.removeprefix("example-kintsugi")
        assert f"`{example}`" in README or f"`{tail}`" in README, example


@pytest.mark.parametrize("overlay", COMMANDS)
def test_it_takes_eight_commands(overlay: str) -> None:
    lines = COMMANDS[overlay].splitlines()
    assert 6 < len([line for line in lines if line and not line.startswith("#")]) <= 8


@pytest.mark.parametrize("overlay", COMMANDS)
def test_commands_name_what_exists(overlay: str) -> None:
    commands, objects = COMMANDS[overlay], environment(overlay)
    for path in re.findall(r"-[fk] (\S+/\S+)", commands):
        assert (ROOT / path).exists(), path
    names = {
        f"{d['kind'].lower()}/{d['metadata']['name']}"
        for d in objects
        if d["kind"] in ("Job", "RayService", "StatefulSet")
    }
    for kind, name in re.findall(r"\b(job|rayservice|statefulset)/([\w-]+)", commands):
        assert f"{kind}/{name}" in names, name
    (jobs,) = re.findall(r"for job in ([^;]+);|One at a time: ([^\n]+)", commands)
    found = {job["metadata"]["name"] for job in of_kind(objects, "RayJob")}
    assert set(re.split(r"[\s,]+", "".join(jobs))) <= found


@pytest.mark.parametrize("overlay", COMMANDS)
def test_the_commands_together_apply_everything(overlay: str) -> None:
    """What is selected by labels leaves nothing out that another command does not bring."""
    jobs = render(f"overlays/{overlay}/jobs")
    chosen = set(re.findall(r"component=([\w-]+)", COMMANDS[overlay]))
    of_jobs = {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in jobs}
    assert of_jobs - {"training"} <= chosen


def test_every_alert_that_it_names_exists() -> None:
    rules = (ROOT / "deploy" / "observability" / "prometheusrule.yaml").read_text()
    for name in set(re.findall(r"`(Kintsugi\w+)`", README)):
        assert f"alert: {name}\n" in rules, name
