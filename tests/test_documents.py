"""The documents: short enough to be read, and nothing that they name is missing."""

import ast
import dataclasses
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kintsugi.cli import program
from kintsugi.config.run_config import JobConfig
from kintsugi.jobs._command import find_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FRONT = [ROOT / "README.md", ROOT / "ARCHITECTURE.md"]
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAPER, CLAIMS = (DOCS / "explanation" / f"{name}.md" for name in ("paper", "claims"))
# Entries and tables of measurements, not pages to be read from top to bottom.
LAB = {DOCS / "lab.md", DOCS / "ablation-tiny.md"}
READ = [*FRONT, *(page for page in PAGES if page not in LAB)]
ALL = [*FRONT, *OTHERS, *PAGES]

MOST_WORDS = {"README.md": 700, "ARCHITECTURE.md": 1500}
MOST_WORDS_A_PARAGRAPH = 90
MOST_WORDS_A_HEADING = 120

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Measured: a number with a unit, or a share.
MEASURED = re.compile(
    r"(?<![\w.])[\d.]+\s*(%|ms\b|s\b|dB\b|MiB\b|GiB\b|MB\b|GB\b|images/s|seconds\b|minutes\b|hours\b|times\b)"
)
CODE = re.compile(r"`([^`\n]+)`")
NAMED_FILE = re.compile(r"[\w.*-]+(?:/[\w.*-]+)+\.(?:py|md|toml|yaml|conf|html|js)")
# What a run, a release, the demo or a user writes, and what must not be there.
NOT_OURS = re.compile(
    r"^(platform/__init__|demo|site|sheet|part-|checkpoints|metrics|samples|~|s3:)"
)
NO_TERMS = re.compile(r"\b(beside|told|anew)\b", re.IGNORECASE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return FENCE.sub("", path.read_text())


def paragraphs(path: Path) -> Iterator[str]:
    """Running text: no heading, no table, no picture; each item of a list is one."""
    for block in re.split(r"\n\s*\n", prose(path)):
        text = "\n".join(line for line in block.splitlines() if not line.startswith(("|", "#")))
        yield from (item for item in re.split(r"(?m)^\s*(?:[-*]|\d+\.)\s", text) if item.strip())


def blocks(path: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(path.read_text()) if kind == language]


@pytest.mark.parametrize("name", MOST_WORDS)
def test_the_front_documents_are_short(name: str) -> None:
    assert len((ROOT / name).read_text().split()) <= MOST_WORDS[name]


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_paragraphs_are_short(path: Path) -> None:
    long = [text for text in paragraphs(path) if len(text.split()) > MOST_WORDS_A_PARAGRAPH]
    assert long == []


@pytest.mark.parametrize("path", READ, ids=name_of)
def test_headings_come_often(path: Path) -> None:
    text = prose(path)
    headings = len(re.findall(r"^#+ ", text, re.MULTILINE))
    assert headings
    assert len(text.split()) / headings <= MOST_WORDS_A_HEADING


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_the_words_are_plain(path: Path) -> None:
    assert NO_TERMS.findall(prose(path)) == []


def test_the_architecture_holds_no_measurement() -> None:
    assert MEASURED.findall((ROOT / "ARCHITECTURE.md").read_text()) == []


def test_every_entry_of_the_lab_book_is_dated() -> None:
    entries = re.findall(r"^### (.*)$", (DOCS / "lab.md").read_text(), re.MULTILINE)
    assert len(entries) > 20
    assert [entry for entry in entries if not re.match(r"\d{4}-\d\d-\d\d: ", entry)] == []


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    targets = [link for link in LINK.findall(prose(path)) if "://" not in link]
    assert [link for link in targets if not (path.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("path", [path for path in ALL if path not in LAB], ids=name_of)
def test_named_files_are_there(path: Path) -> None:
    """Whole, or from a room of `platform/kintsugi`, `models` or `deploy`."""
    if path.name == "CHANGELOG.md":
        pytest.skip("names what is gone, too")
    roots = [ROOT, ROOT / "platform", ROOT / "platform" / "kintsugi", ROOT / "deploy"]
    missing = []
    for code in CODE.findall(prose(path)):
        for named in NAMED_FILE.findall(code):
            if NOT_OURS.match(named) or "://" in code:
                continue
            if not any(any(root.glob(named)) for root in roots):
                missing.append(named)
    assert missing == []


def test_every_page_can_be_reached_from_the_first_one() -> None:
    reached, new = set[Path](), {DOCS / "index.md"}
    while new:
        reached |= new
        links = {
            (page.parent / link.partition("#")[0]).resolve()
            for page in new
            for link in LINK.findall(prose(page))
            if "://" not in link
        }
        new = {link for link in links if link.suffix == ".md" and DOCS in link.parents} - reached
    assert {name_of(page) for page in PAGES} - {name_of(page) for page in reached} == set()


def test_every_page_is_in_the_navigation() -> None:
    # Without the tags of Python objects that some options of mkdocs need.
    text = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    assert {str(page.relative_to(DOCS)) for page in PAGES} <= named
    generated = {name for name in named if not (DOCS / name).exists()}
    assert generated == {
        f"reference/{name}.md"
        for name in ("configuration", "commands", "http", "settings", "metrics", "python")
    }


# Where things are, and how much is done at one time: no choice of the method.
NO_CHOICES = {
    *("data.shards", "data.tasks", "translate.stage1", "loop.log_every", "loop.checkpoint_every"),
    *("loop.sample_every", "loop.keep_checkpoints", "workers.cpus", "workers.use_gpu"),
}


def test_the_page_of_the_paper_has_every_choice_of_its_configuration() -> None:
    """No guess is unmarked: what the files set stands there with its reason, and nothing else."""
    named = set(re.findall(r"`([a-z_]+\.[a-z0-9_]+)(?: = [^`]+)?`", PAPER.read_text()))
    chosen = set()
    for path in (ROOT / "jobs" / "configs").glob("paper*.toml"):
        if path.stem != "paper-context-encoder":
            sections = tomllib.loads(path.read_text())
            chosen |= {
                f"{section}.{key}"
                for section, keys in sections.items()
                if isinstance(keys, dict)
                for key in keys
            }
    assert len(chosen) > 20
    assert chosen - NO_CHOICES - named == set()
    assert [key for key in named if not _is_key(key)] == []


def test_every_claim_is_confirmed_refuted_or_open() -> None:
    rows = re.findall(r"(?m)^\| (.+?) \| (.+?) \| (.+) \|$", CLAIMS.read_text())
    stands = [stands for _, stands, _ in rows if stands not in ("here", "---")]
    assert len(stands) > 15
    assert set(stands) <= {"confirmed", "refuted", "open"}


# Not of the lab book, whose entries stay as they were.
COMMANDS = [(path, code) for path in READ for code in blocks(path, "bash")]


def commands(code: str) -> Iterator[list[str]]:
    """The words of each command of a block: lines that go on are joined, comments left out."""
    for line in code.replace("\\\n", " ").splitlines():
        words = re.sub(r"(^|\s)#.*$", "", line).split()
        while words and re.match(r"^[A-Z_]+=", words[0]):
            words.pop(0)
        if words[:3] == ["ray", "job", "submit"]:
            words = words[words.index("--") + 1 :]
        if words:
            yield words


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """--help of the command that these words name."""
    named = words[:2] if words[0] in program.GROUPS else words[:1]
    with pytest.raises(SystemExit, match="0"):
        program.run([*named, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize(("path", "code"), COMMANDS, ids=lambda value: str(value)[-40:])
def test_commands_are_there(path: Path, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(code):
        first, *rest = words
        if first == "make":
            assert {word for word in rest if "=" not in word} <= targets
        elif first == "kintsugi":
            flags = {word for word in rest if re.match("--?[a-z]", word)}
            shown = help_of(rest, capsys) if rest[0] != "--version" else "--version"
            assert [flag for flag in flags if flag not in shown] == [], words
        else:
            assert first.rpartition("/")[2] in (
                "curl",
                "export",
                "pip",
                "python",
                "ray",
                "serve",
                ".",
            )
    for config in re.findall(r"--config ([\w.-]+)", code):
        assert find_config(config).is_file()
    for key in re.findall(r"--set ([\w.]+)=", code):
        assert _is_key(key), key


def _is_key(key: str) -> bool:
    kind: object = JobConfig
    for part in key.split("."):
        assert dataclasses.is_dataclass(kind)
        fields = {field.name: field.type for field in dataclasses.fields(kind)}
        if part not in fields:
            return False
        kind = fields[part]
    return True


PYTHON = [(path, code) for path in [*FRONT, *PAGES] for code in blocks(path, "python")]


@pytest.mark.parametrize(("path", "code"), PYTHON, ids=lambda value: str(value)[-40:])
def test_python_blocks_import_what_is_there(path: Path, code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            # An ImportError says what is missing.
            exec(ast.unparse(node), {})


@pytest.mark.slow
def test_the_first_tutorial_fills_a_hole(tmp_path: Path) -> None:
    tutorial = DOCS / "tutorials" / "first-fill.md"
    [script] = blocks(tutorial, "python")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    [fill] = [code for code in blocks(tutorial, "bash") if "kintsugi fill" in code]
    [words] = commands(fill)
    subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, check=True)
    assert (tmp_path / "demo" / "filled.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("no_ray")
def test_the_other_tutorials_train_publish_and_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their commands as they are written, but for two steps of each training and without Ray.

    On Ray the same commands run in tests/jobs: test_write_shards.py and test_training_jobs.py.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("kintsugi.jobs.write_shards.start_ray", lambda: None)
    ran = []
    for name in ("first-training.md", "first-release.md"):
        for code in blocks(DOCS / "tutorials" / name, "bash"):
            for words in commands(code):
                # Others start a cluster or a service.
                if words[0] != "kintsugi" or words[1] == "serve" or "ray job submit" in code:
                    continue
                if words[1] == "train":
                    words += ["--set", "loop.max_steps=2"]
                assert program.run(words[1:]) == 0, words
                ran.append(words[1])
    assert ran == ["train", "shards", "train", "train", "publish", "evaluate"]
    assert (tmp_path / ".kintsugi/runs/debug-stage1/metrics").is_dir()
    assert (tmp_path / ".kintsugi/reports/debug/results.md").is_file()


@pytest.mark.slow
def test_the_site_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text()
        assert re.findall(r"<(?:script|img|iframe)[^>]*src=[\"']?(?:https?:)?//", text) == []
        assert re.findall(r"<link[^>]*href=[\"']?(?:https?:)?//", text) == []
