"""What a match needs, by arithmetic: memory and work before anything runs."""

import os
from dataclasses import dataclass
from pathlib import Path

from kintsugi.benchmarks.match.inputs import MatchCase
from kintsugi.models.match.windows import PATCH
from kintsugi.models.networks.vgg import FEATURE_CHANNELS

GIB, MIB = 2**30, 2**20
_FLOAT_BYTES = 4
# What our searches hold on top of maps at one time, at most.
_BANDS_BYTES = 256 * MIB


@dataclass(frozen=True)
class Needs:
    """What one call of a method needs.

    Attributes:
        bytes: Memory above the features and the mask.
        work: Time grows in proportion to it; comparable within one method only.
    """

    bytes: int
    work: int


def match_needs(method: str, case: MatchCase) -> Needs:
    """What ``published``, ``exact`` or ``approximate`` needs for a case."""
    queries, candidates = (int(windows.sum()) for windows in case.windows())
    windows = (case.cells - PATCH + 1) ** 2
    patch = PATCH**2 * FEATURE_CHANNELS
    if method == "published":
        # The scores, later the one-hot map, and the patches as they are and as unit
        # vectors; of the larger of each a copy as the convolution arranges it.
        floats = 2 * candidates * windows + 3 * candidates * patch
        return Needs(floats * _FLOAT_BYTES, candidates * windows * patch)
    maps = 2 * case.cells**2 * FEATURE_CHANNELS * _FLOAT_BYTES
    work = queries * candidates if method == "exact" else queries + windows
    return Needs(maps + _BANDS_BYTES, work)


def available_bytes() -> int:
    """Memory that new processes can have without swapping, as the system estimates it."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
