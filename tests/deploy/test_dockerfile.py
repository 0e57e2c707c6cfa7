"""Rules for deploy/Dockerfile that can be checked without building it."""

import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.k8s.manifests import containers, environment, pods

ROOT = Path(__file__).resolve().parents[2]
Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """Keyword and rest of every instruction, continued lines joined."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", "", code).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def every(instructions: list[Instruction], keyword: str) -> list[str]:
    return [rest for name, rest in instructions if name == keyword]


def last_stage(instructions: list[Instruction]) -> list[Instruction]:
    """What ends up in the image."""
    start = max(i for i, (keyword, _) in enumerate(instructions) if keyword == "FROM")
    return instructions[start:]


def variables(instructions: list[Instruction]) -> dict[str, str]:
    found = re.findall(r"(\w+)=(\S+)", " ".join(every(last_stage(instructions), "ENV")))
    return dict(found)


def test_base_image_has_an_exact_version(instructions: list[Instruction]) -> None:
    arguments = dict(rest.partition("=")[::2] for rest in every(instructions, "ARG"))
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", arguments["BASE_IMAGE"])
    assert arguments["VARIANT"] == "cuda"


def test_stages_build_on_each_other(instructions: list[Instruction]) -> None:
    """Both variants end in the same image, and only the base image comes from elsewhere."""
    stages = [rest.split(" AS ") for rest in every(instructions, "FROM")]
    names = {stage[1] for stage in stages if len(stage) == 2}
    assert {"build-cuda", "build-cpu"} <= names
    for stage in stages:
        assert stage[0] in names | {"${BASE_IMAGE}", "build-${VARIANT}"}, stage
    assert stages[-1] == ["${BASE_IMAGE}"]
    (venv,) = (c for c in every(instructions, "COPY") if c.startswith("--from="))
    assert venv == "--from=installed /opt/kintsugi /opt/kintsugi"


def test_lint_rules_hold(instructions: list[Instruction]) -> None:
    """Those of hadolint that apply; it is no Python package."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    for keyword, rest in instructions:
        assert keyword in {
            *("ARG", "CMD", "COPY", "ENV", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER"),
            "WORKDIR",
        }, keyword
        if keyword == "RUN":
            assert not re.search(r"\b(sudo|curl|ssh|apt-get upgrade)\b|chmod 777|\|", rest), rest
            assert not re.search(r"\bcd\b", rest), rest
        if "apt-get install" in rest:
            assert {"--yes", "--no-install-recommends"} <= set(rest.split())
            assert "rm -rf /var/lib/apt/lists/*" in rest
        for install in re.findall(r"pip install [^&]*", rest):
            assert "--no-cache-dir" in install, install
            # Every version is said.
            assert "--constraint constraints.txt" in install, install
        if keyword == "WORKDIR":
            assert rest.startswith("/")
        if keyword in ("CMD", "HEALTHCHECK"):
            assert "[" in rest, "the exec form, which passes signals on"
    # What is ignored says why on the line before, or for a stage whose name is a variable.
    assert text.count("hadolint ignore=DL3008") == 1


def test_runs_as_the_user_of_the_manifests(instructions: list[Instruction]) -> None:
    (user,) = every(last_stage(instructions), "USER")
    # Numbers: the kubelet cannot know whether a name is root.
    uid, gid = user.split(":")
    assert int(uid) > 0
    for name, pod in pods(environment("production")):
        if any("kintsugi" in c["image"] for c in pod["spec"]["containers"]):
            context = pod["spec"]["securityContext"]
            assert (str(context["runAsUser"]), str(context["runAsGroup"])) == (uid, gid), name


def test_nothing_after_the_user_needs_root(instructions: list[Instruction]) -> None:
    keywords = [keyword for keyword, _ in last_stage(instructions)]
    assert not {"RUN", "COPY"} & set(keywords[keywords.index("USER") :])


def test_what_is_written_goes_to_volumes(instructions: list[Instruction]) -> None:
    """The manifests make the root read-only and mount HOME and /tmp."""
    found = variables(instructions)
    assert found["HOME"] == "/home/kintsugi"
    assert found["TORCH_HOME"].startswith("/tmp/")
    assert found["PYTHONDONTWRITEBYTECODE"] == "1"


def test_python_finds_the_code_as_in_the_manifests(instructions: list[Instruction]) -> None:
    (folder,) = every(last_stage(instructions), "WORKDIR")
    path = variables(instructions)["PYTHONPATH"]
    assert path == f"{folder}/platform"
    said = {
        variable["value"]
        for _, container in containers(environment("production"))
        for variable in container.get("env", [])
        if variable["name"] == "PYTHONPATH"
    }
    assert said == {path}


def test_installs_what_the_operator_calls(instructions: list[Instruction]) -> None:
    (packages,) = (run for run in every(last_stage(instructions), "RUN") if "apt-get" in run)
    assert {"bash", "wget"} <= set(packages.split())


def test_both_variants_install_the_same_of_ours(instructions: list[Instruction]) -> None:
    ours = [
        install.strip()
        for run in every(instructions, "RUN")
        for install in re.findall(r"pip install [^&]*--editable[^&]*", run)
    ]
    assert len(ours) == 2
    assert set(ours) == {
        'pip install --no-cache-dir --constraint constraints.txt --editable ".[eval,tracing]"'
    }


def test_every_package_of_the_image_has_a_tested_version() -> None:
    """What the install line brings, all the way down, is in constraints.txt as it is here."""
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {canonicalize_name(name): pin for name, _, pin in (x.partition("==") for x in lines)}
    seen: set[tuple[str, str]] = set()
    unlike: set[str] = set()
    ours = "kintsugi-inpainting"
    todo = [(ours, "eval"), (ours, "tracing"), (ours, "")]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in requires(name) or []:
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
                continue
            child = canonicalize_name(needed.name)
            todo += [(child, ""), *((child, more) for more in needed.extras)]
            try:
                here = version(child)
            except PackageNotFoundError:
                pytest.fail(f"{child} of {name}[{extra}] is not installed")
            # A build of PyTorch without CUDA has a local version: 2.15.0+cpu.
            if child != ours and pinned.get(child) != here.partition("+")[0]:
                unlike.add(f"{child}=={here}")
    assert unlike == set()
    assert len(seen) > 100


def test_copies_what_exists_and_reaches_the_builder(instructions: list[Instruction]) -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    reach = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        source
        for copy in every(instructions, "COPY")
        if not copy.startswith("--from=")
        for source in copy.split()[:-1]
    }
    assert copied == reach
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not PurePosixPath(source).name.startswith("."), source


def test_says_what_it_is(instructions: list[Instruction]) -> None:
    labels = re.findall(
        r"org\.opencontainers\.image\.(\w+)=", " ".join(every(instructions, "LABEL"))
    )
    assert {"title", "description", "licenses", "version", "revision"} <= set(labels)


def test_holds_no_secret(instructions: list[Instruction]) -> None:
    for keyword, rest in instructions:
        if keyword in ("ARG", "ENV"):
            assert not re.search(r"(?i)secret|token|password|access_key", rest), rest
