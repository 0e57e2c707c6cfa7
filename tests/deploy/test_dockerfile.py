"""Rules for deploy/Dockerfile that can be checked without building it."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.write_locks import BUILD, LOCKS, OURS, TEXTS, TORCH
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


def stage(instructions: list[Instruction], name: str) -> list[Instruction]:
    """The instructions of one stage, without those of the stage that it stands on."""
    starts = [i for i, (keyword, _) in enumerate(instructions) if keyword == "FROM"]
    (start,) = [i for i in starts if instructions[i][1].endswith(f" AS {name}")]
    end = min((i for i in starts if i > start), default=len(instructions))
    return instructions[start:end]


def last_stage(instructions: list[Instruction]) -> list[Instruction]:
    start = max(i for i, (keyword, _) in enumerate(instructions) if keyword == "FROM")
    return instructions[start:]


def image(instructions: list[Instruction], variant: str = "cuda") -> list[Instruction]:
    """What ends up in the image, layer by layer."""
    return [
        *stage(instructions, "base"),
        *stage(instructions, f"torch-{variant}"),
        *last_stage(instructions),
    ]


def variables(instructions: list[Instruction]) -> dict[str, str]:
    found = re.findall(r"(\w+)=(\S+)", " ".join(every(last_stage(instructions), "ENV")))
    return dict(found)


def locked() -> dict[str, tuple[str, str]]:
    """Version and file of every package in the locks."""
    found = {}
    for which in TEXTS:
        for line in (LOCKS / f"{which}.txt").read_text().splitlines():
            if not line.startswith("#"):
                pinned = re.fullmatch(r"([a-z0-9.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line)
                assert pinned is not None, line
                found[canonicalize_name(pinned[1])] = (pinned[2], which)
    return found


def test_base_image_has_an_exact_version(instructions: list[Instruction]) -> None:
    arguments = dict(rest.partition("=")[::2] for rest in every(instructions, "ARG"))
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", arguments["BASE_IMAGE"])
    assert arguments["VARIANT"] == "cuda"


def test_stages_build_on_each_other(instructions: list[Instruction]) -> None:
    """Both variants end in the same image, and only the base image comes from elsewhere."""
    stages = [rest.split(" AS ") for rest in every(instructions, "FROM")]
    names = {stage[1] for stage in stages if len(stage) == 2}
    assert names == {"base", "torch-cuda", "torch-cpu", "code"}
    for each in stages:
        assert each[0] in names | {"${BASE_IMAGE}", "torch-${VARIANT}"}, each
    assert stages[-1] == ["torch-${VARIANT}"]


@pytest.mark.parametrize("variant", ["cuda", "cpu"])
def test_layers_come_by_how_often_they_change(
    instructions: list[Instruction], variant: str
) -> None:
    """What changes least is lowest: a change of the code leaves all below it where it is."""
    layers = [rest for word, rest in image(instructions, variant) if word in ("RUN", "COPY")]
    order = ["apt-get", "locks/torch", "locks/packages.txt", "models/pretrained", "/code/models"]
    places = [next(i for i, rest in enumerate(layers) if word in rest) for word in order]
    assert places == sorted(places)
    # The code is the last thing that is copied, and the weights are no part of that layer.
    code = layers[places[-1] :]
    assert all(
        rest.startswith(("COPY", "--from=code", "jobs", "deploy", "platform")) or "pip" in rest
        for rest in code
    )
    assert every(stage(instructions, "code"), "RUN") == ["rm -rf /code/models/pretrained"]
    # Nothing that installs gigabytes depends on the code, or on the list of what is tested.
    for rest in layers[: places[3]]:
        assert not re.search("pyproject|constraints", rest), rest


def test_lint_rules_hold(instructions: list[Instruction]) -> None:
    """Those of hadolint that apply; it is no Python package."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    for keyword, rest in instructions:
        assert keyword in {
            *("ARG", "CMD", "COPY", "ENV", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER"),
            "WORKDIR",
        }, keyword
        if keyword == "RUN":
            assert not re.search(r"\b(sudo|curl|ssh|apt-get upgrade)\b|chmod 777|[^\\]\|", rest)
            assert not re.search(r"\bcd\b", rest), rest
        if "apt-get install" in rest:
            assert {"--yes", "--no-install-recommends"} <= set(rest.split())
            assert "rm -rf /var/lib/apt/lists/*" in rest
        for install in re.findall(r"pip install [^&]*", rest):
            assert {"--no-cache-dir", "--no-deps"} <= set(install.split()), install
        if keyword == "WORKDIR":
            assert rest.startswith("/")
        if keyword in ("CMD", "HEALTHCHECK"):
            assert "[" in rest, "the exec form, which passes signals on"
    # What is ignored says why on the line before, or for a stage whose name is a variable.
    assert text.count("hadolint ignore=DL3008") == 1


def test_every_file_that_is_installed_is_known_by_its_hash(instructions: list[Instruction]) -> None:
    """But for PyTorch without CUDA, which comes from an index that the builder names."""
    for keyword, rest in instructions:
        for install in re.findall(r"pip install [^&]*", rest) if keyword == "RUN" else []:
            known = "--require-hashes" in install or "--editable ." in install
            assert known or '--index-url "${TORCH_INDEX}"' in install, install


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
    (folder,) = every(image(instructions), "WORKDIR")
    path = variables(instructions)["PYTHONPATH"]
    assert path == f"{folder}/platform"
    said = {
        variable["value"]
        for _, container in containers(environment("production"))
        for variable in container.get("env", [])
        if variable["name"] == "PYTHONPATH"
    }
    assert said == {path}


def test_proxies_are_asked_as_often_as_the_cluster_says(instructions: list[Instruction]) -> None:
    """By the image for all clusters alike, a hundred nodes would be asked 200 times a second."""
    name = "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"
    assert name not in variables(instructions)
    said = {
        float(variable["value"])
        for _, container in containers(environment("production"))
        for variable in container.get("env", [])
        if variable["name"] == name
    }
    assert len(said) == 1
    assert 100 / said.pop() <= 50


def test_installs_what_the_operator_calls(instructions: list[Instruction]) -> None:
    (packages,) = (run for run in every(image(instructions), "RUN") if "apt-get" in run)
    assert {"bash", "wget"} <= set(packages.split())


def needed_packages() -> dict[str, str]:
    """All that the image's install needs, all the way down, with the versions that are here."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(OURS, "eval"), (OURS, "tracing"), (OURS, "")]
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
                found[child] = version(child)
            except PackageNotFoundError:
                pytest.fail(f"{child} of {name}[{extra}] is not installed")
    return found


def test_the_locks_hold_every_package_as_it_was_tested() -> None:
    """No more, no less, and in the versions of constraints.txt, which are those that are here."""
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {canonicalize_name(name): pin for name, _, pin in (x.partition("==") for x in lines)}
    # A build of PyTorch without CUDA has a local version (2.15.0+cpu), and no libraries of CUDA.
    needed = {name: here.partition("+")[0] for name, here in needed_packages().items()}
    assert len(needed) > 80
    assert {name: pin for name, pin in needed.items() if pinned.get(name) != pin} == {}
    found = locked()
    remedy = "run: python -m tests.deploy.write_locks"
    assert {n: v for n, v in needed.items() if found.get(n, ("",))[0] != v} == {}, remedy
    of_the_build = {*BUILD, "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"}
    more = found.keys() - needed.keys() - of_the_build
    assert {name for name in more if not TORCH.match(name)} == set(), remedy
    assert {name for name, (_, which) in found.items() if which == "torch"} == {
        name for name in found if TORCH.match(name)
    }


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_copies_what_exists_and_reaches_the_builder(instructions: list[Instruction]) -> None:
    rules = ignored()
    assert rules[0] == "*"
    reach = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        source
        for copy in every(instructions, "COPY")
        if not copy.startswith("--from=")
        for source in copy.split()[:-1]
    }
    assert {PurePosixPath(source).parts[0] for source in copied} == reach
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not PurePosixPath(source).name.startswith("."), source


def test_the_copied_code_runs_and_has_the_release(
    instructions: list[Instruction], tmp_path: Path
) -> None:
    """The copies carried out here, links as links: what the image starts finds all of itself."""
    for copy in every(last_stage(instructions), "COPY"):
        *sources, target = copy.replace("--from=code /code/", "").split()
        for source in sources:
            if "locks" in source:
                continue
            place = tmp_path / (source if target.endswith("/") else target)
            if (ROOT / source).is_file():
                shutil.copy(ROOT / source, place)
                continue
            # The stage `code` has no release.
            skip = shutil.ignore_patterns(
                "__pycache__", *(["pretrained"] if "--from=code" in copy else [])
            )
            shutil.copytree(ROOT / source, place, symlinks=True, ignore=skip, dirs_exist_ok=True)
    assert (tmp_path / "platform" / "kintsugi" / "models").is_symlink()
    weights = [path for path in tmp_path.rglob("model.safetensors")]
    assert len(weights) == 1
    program = (
        "import kintsugi.deploy.app, kintsugi.jobs.fill, kintsugi.defaults as d, pathlib;"
        "assert pathlib.Path(d.BUNDLED_RELEASE, 'config.json').is_file(), d.BUNDLED_RELEASE;"
        "print(kintsugi.jobs.fill.__file__)"
    )
    environment = {"PYTHONPATH": "platform", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).resolve().is_relative_to(tmp_path.resolve())


def test_says_what_it_is(instructions: list[Instruction]) -> None:
    labels = re.findall(
        r"org\.opencontainers\.image\.(\w+)=", " ".join(every(instructions, "LABEL"))
    )
    assert {"title", "description", "licenses", "version", "revision"} <= set(labels)


def test_holds_no_secret(instructions: list[Instruction]) -> None:
    for keyword, rest in instructions:
        if keyword in ("ARG", "ENV"):
            assert not re.search(r"(?i)secret|token|password|access_key", rest), rest
