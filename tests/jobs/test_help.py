"""`jobs/NAME.py --help`: every job lists its flags with examples, and at once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kintsugi.jobs._command import find_config

ROOT = Path(__file__).parents[2]
JOBS = sorted(path.name for path in (ROOT / "jobs").glob("[!_]*.py"))
# Each job in a fork of one process: to start Python again for each would take longer.
SCRIPT = """
import os, runpy, sys
for job in sys.argv[1:]:
    if os.fork() == 0:
        sys.argv = [job, "--help"]
        try:
            runpy.run_path(f"jobs/{job}", run_name="__main__")
        except SystemExit as end:
            print(f"{job}: exit {end.code}")
        heavy = {"ray", "torch", "pandas", "scipy", "sklearn", "skimage"} & sys.modules.keys()
        print(f"{job}: imports {sorted(heavy)}", flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def printed() -> str:
    command = [sys.executable, "-c", SCRIPT, *JOBS]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("job", JOBS)
def test_it_waits_for_nothing_that_is_slow_to_import(printed: str, job: str) -> None:
    assert f"Usage: {job} " in printed
    assert f"{job}: exit 0\n" in printed
    assert f"{job}: imports []\n" in printed


def test_every_configuration_that_is_named_is_there(printed: str) -> None:
    named = set(re.findall(r"--config ([a-z][\w-]+)|default: ((?:debug|ablation)-[\w-]+)", printed))
    names = {one or other for one, other in named}
    assert len(names) > 5
    assert not [name for name in names if not find_config(name).is_file()]


@pytest.mark.parametrize("option", ["--metrics-port", "--metrics-host"])
def test_an_option_that_jobs_share_is_described_alike(printed: str, option: str) -> None:
    described = re.findall(rf"^ +{option} (.+?)(?=^ +--|^$)", printed, re.DOTALL | re.MULTILINE)
    assert len(described) > 1
    assert len({" ".join(each.split()) for each in described}) == 1
