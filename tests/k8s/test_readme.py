"""k8s/README.md against the manifests: values, Secrets, commands."""

import re

from tests.k8s.manifests import K8S, ROOT, environment, of_kind, render_text
from tests.k8s.strict_checker import SECRETS

README = (K8S / "README.md").read_text()


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


def test_it_takes_eight_commands() -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line for line in commands.splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 8


def test_commands_name_what_exists() -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for path in re.findall(r"-[fk] (\S+)", commands):
        assert (ROOT / path).exists(), path
    names = {
        f"{d['kind'].lower()}/{d['metadata']['name']}"
        for d in environment("local")
        if d["kind"] in ("Job", "RayService", "StatefulSet")
    }
    for kind, name in re.findall(r"\b(job|rayservice|statefulset)/([\w-]+)", commands):
        assert f"{kind}/{name}" in names, name
    (jobs,) = re.findall(r"for job in ([^;]+);", commands)
    found = {job["metadata"]["name"] for job in of_kind(environment("local"), "RayJob")}
    assert set(jobs.split()) <= found


def test_every_alert_that_it_names_exists() -> None:
    rules = (ROOT / "deploy" / "observability" / "prometheusrule.yaml").read_text()
    for name in set(re.findall(r"`(Kintsugi\w+)`", README)):
        assert f"alert: {name}\n" in rules, name
