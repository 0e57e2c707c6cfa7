"""Numbered steps on the terminal, and commands whose output is shown while it is logged."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path

from kintsugi.errors import KintsugiError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Ray puts the process in front of each line that does not come from the driver.
_PROCESS = re.compile(r"^\((?P<process>[^)]*pid=[^)]*|raylet|autoscaler[^)]*)\)\s?")
# Ray's own lines: those of its log, and some that come without a date.
_RAY_LOG = re.compile(
    r"^\[?\d{4}-\d\d-\d\d [\d:,]+.*\b(INFO|SUCC|WARNING|E \d+)\b"
    r"|^(Progress bars disabled|Running entrypoint for job)"
)


class CommandFailed(KintsugiError):
    """A command ended with another exit code than expected."""


@dataclass
class Console:
    """Counts and times the steps; `seconds` is what each took, by its title."""

    total: int
    logs: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, time it, and say how long it took when it is done."""
        print(f"\n[{len(self.seconds) + 1}/{self.total}] {title}", flush=True)
        since = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - since
        print(f"    done in {self.seconds[title]:.0f} s", flush=True)

    def say(self, line: str) -> None:
        """Print a line below the step's title."""
        print(f"    {line}", flush=True)

    def run(self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        """Run a command as a user would, showing what it says of itself.

        All of its output goes to a file in ``logs``, Ray's own lines included.

        Raises: CommandFailed naming the command, its exit code and the log.
        """
        self.say("$ " + " ".join(command))
        log = self.logs / f"{len(self.seconds) + 1:02d}-{_log_name(command)}.log"
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(os.environ) | dict(environment) | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is for this program, which then ends the command itself.
            start_new_session=True,
        )
        try:
            self._follow(process, log)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
            assert process.stdout is not None
            process.stdout.close()
        if process.returncode != 0:
            last = log.read_text(encoding="utf-8").splitlines()[-15:]
            print("\n".join(last), file=sys.stderr)
            raise CommandFailed(f"`{command[0]} ...` ended with {process.returncode}: see {log}")

    def _follow(self, process: "subprocess.Popen[str]", log: Path) -> None:
        assert process.stdout is not None
        with log.open("a", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                shown = own_words(line)
                if shown:
                    self.say("  " + shown)
        process.wait()


def own_words(line: str) -> str:
    """What a job says of itself in a line of its log; "" for Ray's own lines."""
    text = _COLOUR.sub("", line).strip()
    process = _PROCESS.match(text)
    if process is not None:
        if not process["process"].startswith("RayTrainWorker"):
            return ""
        text = text[process.end() :]
    return "" if _RAY_LOG.match(text) else text


def _log_name(command: Sequence[str]) -> str:
    """The names of a command of ours and of its group; for others, the program's."""
    words = list(command)
    if "kintsugi" not in words:
        return Path(words[0]).stem
    own = takewhile(str.isalnum, words[words.index("kintsugi") + 1 :])
    return "-".join(islice(own, 2))
