"""Rules for deploy/Dockerfile that can be checked without building it."""

import re
from pathlib import Path, PurePosixPath

import pytest

from tests.k8s.manifests import containers, pods

ROOT = Path(__file__).resolve().parents[2]
Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """Keyword and rest of every instruction, continued lines joined."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", "", code).splitlines()
    return [(line.split()[0], line.partition(" ")[2]) for line in lines if line.strip()]


def every(instructions: list[Instruction], keyword: str) -> list[str]:
    return [rest for name, rest in instructions if name == keyword]


def test_base_image_has_a_version(instructions: list[Instruction]) -> None:
    assert every(instructions, "FROM") == ["${BASE_IMAGE}"]
    (argument,) = every(instructions, "ARG")
    name, _, tag = argument.removeprefix("BASE_IMAGE=").partition(":")
    assert name == "python"
    assert tag.startswith("3.11-slim-")


def test_runs_as_the_user_of_the_manifests(instructions: list[Instruction]) -> None:
    assert instructions[-1][0] == "USER"
    # Numbers: the kubelet cannot tell whether a name is root.
    user, group = instructions[-1][1].split(":")
    for _, pod in pods():
        context = pod["spec"]["securityContext"]
        assert (str(context["runAsUser"]), str(context["runAsGroup"])) == (user, group)


def test_python_finds_the_code_as_in_the_manifests(instructions: list[Instruction]) -> None:
    (folder,) = every(instructions, "WORKDIR")
    path = re.search(r"PYTHONPATH=(\S+)", " ".join(every(instructions, "ENV")))
    assert path is not None
    assert path[1] == f"{folder}:{folder}/platform"
    said = {
        v["value"] for _, c in containers() for v in c.get("env", []) if v["name"] == "PYTHONPATH"
    }
    assert said == {path[1]}


def test_installs_the_tested_versions_and_what_the_operator_calls(
    instructions: list[Instruction],
) -> None:
    (install,) = (run for run in every(instructions, "RUN") if "pip install" in run)
    assert "--constraint constraints.txt" in install
    assert ".[eval]" in install
    (packages,) = (run for run in every(instructions, "RUN") if "apt-get install" in run)
    assert {"bash", "wget", "--no-install-recommends"} <= set(packages.split())


def test_copies_what_exists_and_reaches_the_builder(instructions: list[Instruction]) -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {source for copy in every(instructions, "COPY") for source in copy.split()[:-1]}
    assert copied == allowed
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not PurePosixPath(source).name.startswith("."), source


def test_holds_no_secret(instructions: list[Instruction]) -> None:
    for keyword, rest in instructions:
        if keyword in ("ARG", "ENV"):
            assert not re.search(r"(?i)secret|token|password|access_key", rest), rest
