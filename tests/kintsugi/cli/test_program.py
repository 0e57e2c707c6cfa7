"""The command `kintsugi`: every command answers --help at once, with examples; exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from kintsugi.cli import program
from kintsugi.defaults import PACKAGE
from kintsugi.errors import ConfigError
from kintsugi.jobs import _bootstrap

NAMES = [
    *([name] for name in program.COMMANDS),
    *([group, name] for group, (_, commands) in program.GROUPS.items() for name in commands),
]


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_every_command_shows_its_options_and_examples(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        program.run([*words, "--help"])
    shown = capsys.readouterr().out
    assert f"Usage: kintsugi {' '.join(words)} " in shown
    assert f"examples:\n    kintsugi {' '.join(words)}" in shown
    assert shown.partition("\n\n")[2].strip(), "it says what it does"


def test_nothing_slow_is_imported_before_a_command_is_chosen() -> None:
    script = """
import sys
from kintsugi.cli import program
try:
    program.run(["--help"])
except SystemExit:
    pass
slow = {"ray", "torch", "numpy", "fastapi", "uvicorn", "pyarrow", "s3fs", "PIL", "rich"}
print("slow:", sorted(slow & sys.modules.keys()))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "slow: []" in run.stdout
    for name in (*program.COMMANDS, *program.GROUPS):
        assert f"\n  {name} " in run.stdout


def test_every_job_is_a_command() -> None:
    jobs = {path.stem for path in (PACKAGE / "jobs").glob("[!_]*.py")}
    used = {
        command.function.__module__.rpartition(".")[2]
        for commands in (program.COMMANDS, *(group for _, group in program.GROUPS.values()))
        for command in commands.values()
    }
    trained = {f"train_{stage}" for stage in program.STAGES}
    assert jobs <= used | trained


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["no-such-command"], 2),
        (["fill"], 2),
        (["fill", "a.png", "b.png", "-o", "c.png", "--colour"], 2),
        (["serve", "--host", "0.0.0.0"], 2),
        (["serve", "--in-process", "--ray"], 2),
    ],
)
def test_exit_codes(words: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["kintsugi", *words])
    with pytest.raises(SystemExit) as end:
        _bootstrap.run(program.run)
    assert end.value.code == code


def test_a_service_for_other_machines_needs_keys() -> None:
    with pytest.raises(ConfigError, match=r"--host 10\.0\.0\.1 lets other machines in.*--api-keys"):
        program.run(["serve", "--host", "10.0.0.1"])


def test_the_package_is_also_run_by_its_name(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "kintsugi", "--version"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.startswith("kintsugi ")
