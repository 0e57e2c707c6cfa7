"""A run on a terminal or in a log: one line per row, or a bar; knows not where rows come from."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Row = Mapping[str, Any]

# Shown in this order; "loss/perceptual" is shown as "perceptual".
_KINDS = {"loss": "", "held_out": "held out:", "fixed": "fixed photographs:"}
# Of a step, by which the rank that takes longest is behind the fastest when it is named.
_STRAGGLES = 0.1


class LinePrinter:
    """One plain line per row: for logs and pipes."""

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    def begin(self, rows: Sequence[Row]) -> None:
        """Earlier rows stand in the earlier log."""

    def show(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        for row in rows:
            print(format_line(row, self.max_steps), flush=True)

    def close(self) -> None:
        """Nothing is left open."""


class ProgressBar:
    """A bar with the newest losses on a terminal; what is measured seldom stands above it."""

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        # It takes over what is printed meanwhile, so that Ray's lines do not tear the bar.
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(20),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            console=console_of_terminal(),
        )
        done = max((row["step"] for row in rows), default=0)
        self._task = self._progress.add_task("starting", total=self.max_steps, completed=done)
        self._progress.start()

    def show(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        assert self._progress is not None
        assert self._task is not None
        for row in rows:
            if "step_seconds" in row:
                self._progress.update(
                    self._task,
                    completed=row["step"],
                    description="  ".join(_losses(row, "loss") + _speed(row, self.max_steps)),
                )
            if any(_values(row, kind) for kind in ("fixed", "held_out")):
                self._progress.console.print(format_line(row, self.max_steps), highlight=False)

    def close(self) -> None:
        """See Watcher."""
        if self._progress is not None:
            self._progress.stop()


def console_of_terminal() -> "Console":
    """Rich's console on standard output, as wide as the terminal."""
    from rich.console import Console

    return Console()


def watcher_for_terminal(max_steps: int) -> LinePrinter | ProgressBar:
    """A bar where somebody sits before it, else lines."""
    return ProgressBar(max_steps) if sys.stdout.isatty() else LinePrinter(max_steps)


def format_line(row: Row, max_steps: int) -> str:
    """One line for a person: step, losses, gradients, rate, speed, waiting, memory, time left.

    Columns keep their width from line to line; what a row does not have is left out.
    """
    step = f"step {row['step']:>{len(str(max_steps))}}/{max_steps}"
    return "  ".join([step, *_parts(row, max_steps)])


def format_duration(seconds: float) -> str:
    """Two units at most: "45 s", "12 min", "3 h 05 min", "2 d 7 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def _parts(row: Row, max_steps: int) -> list[str]:
    parts = []
    for kind, title in _KINDS.items():
        losses = _losses(row, kind)
        parts += [title, *losses] if losses and title else losses
    gradients = _values(row, "grad_norm")
    if gradients:
        parts.append("grad norm " + " ".join(f"{value:8.3g}" for value in gradients.values()))
    if "learning_rate" in row:
        parts.append(f"lr {row['learning_rate']:.1e}")
    if "memory_mib" in row:
        parts.append(f"{row['memory_mib']:5.0f} MiB")
    return parts + _speed(row, max_steps)


def _losses(row: Row, kind: str) -> list[str]:
    return [f"{name} {value:8.4f}" for name, value in _values(row, kind).items()]


def _speed(row: Row, max_steps: int) -> list[str]:
    if "step_seconds" not in row:
        return []
    # Rows from before it was written have none.
    left = row.get("seconds_left", (max_steps - row["step"]) * row["step_seconds"])
    return [
        f"{row['images_per_second']:6.1f} images/s",
        f"data wait {100 * row['wait_share']:3.0f} %",
        f"{format_duration(left)} left",
        *_stragglers(row),
    ]


def _stragglers(row: Row) -> list[str]:
    """The rank that all others wait for, where there is one."""
    found = []
    for kind, verb in (("compute", "computes"), ("data", "waits for data")):
        least, most = (row.get(f"ranks/{kind}_{which}", 0.0) for which in ("least", "most"))
        if most - least > _STRAGGLES * row["step_seconds"]:
            rank = row[f"ranks/{kind}_most_rank"]
            found.append(f"rank {rank:.0f} {verb} {most:.2f} s a step, the least {least:.2f} s")
    return found


def _values(row: Row, kind: str) -> dict[str, float]:
    prefix = kind + "/"
    return {name.removeprefix(prefix): row[name] for name in row if name.startswith(prefix)}
