"""Memory and processor time of a process and all that it started, on Linux; knows no service."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PROC = Path("/proc")
_EVERY_SECONDS = 0.5


@dataclass
class Watched:
    """Bytes while a load lasted; empty where nothing could be watched."""

    samples: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, int] | None:
        """First, highest and last, for JSON."""
        if not self.samples:
            return None
        first, *_ = self.samples
        return {"before": first, "highest": max(self.samples), "after": self.samples[-1]}


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, less this process; 0 where unknown.

    Memory that they share counts for each of them: only its growth says something.
    """
    return sum(_resident_bytes(one) for one in _tree(pid) if one != os.getpid())


def tree_seconds(pid: int) -> float:
    """Processor seconds of a process and its descendants, less this process.

    Those of a descendant that has ended are lost with it.
    """
    return sum(_processor_seconds(one) for one in _tree(pid) if one != os.getpid())


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            # Fields after the name in brackets: state, parent, ...
            _, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        children[int(parent)].append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children[one]
    return found


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Watched]:
    """Watch a process tree while the block runs; pid 0 watches none."""
    seen = Watched()

    def look() -> None:
        if pid and (found := tree_bytes(pid)):
            seen.samples.append(found)

    async def look_on() -> None:
        while True:
            look()
            await asyncio.sleep(_EVERY_SECONDS)

    task = asyncio.create_task(look_on())
    try:
        yield seen
    finally:
        task.cancel()
        look()


def _resident_bytes(pid: int) -> int:
    try:
        pages = (_PROC / str(pid) / "statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _processor_seconds(pid: int) -> float:
    try:
        # Fields 14 and 15 of all, 12 and 13 after the name in brackets: user and system ticks.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
