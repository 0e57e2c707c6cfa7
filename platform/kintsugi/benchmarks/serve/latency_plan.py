"""Which photographs, holes and methods the table of latency has; measures nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kintsugi.benchmarks.match.inputs import SAMPLE
from kintsugi.benchmarks.serve.serve_plan import ServeCase
from kintsugi.errors import ConfigError

PROCESS, GRAPH, PATCHMATCH, TELEA = "process", "graph", "patchmatch", "telea"
METHODS = (PROCESS, GRAPH, PATCHMATCH, TELEA)
MEGAPIXELS = (0.25, 1.0, 4.0, 12.0, 48.0)
HOLES = (0.001, 0.01, 0.1, 0.5)


@dataclass(frozen=True)
class LatencyPlan:
    """One table.

    Attributes:
        release: URI of the release that fills.
        megapixels: The megapixels of the square photographs.
        holes: Shares of the area, a square in the middle.
        methods: Names in ``METHODS``.
        rounds: In which each case is filled once by each method, after one that warms up; of long
            fills the first one counts.
        limit: Seconds; a method whose fill took longer gets no further round, and no larger
            photograph with a hole of that share.
        threads: The threads of PyTorch in the process; 0 leaves them as they are.
        device: The device of the process: "cpu" or "cuda".
        url: The URL of a running service; "" starts the graph on this machine.
        pid: The number of the process at the top of that service, for processor time and memory;
            0 for unknown.
        api_key: For a service that asks for one.
        photo: URI of the photograph, or ``samples/NAME``.
    """

    release: str
    megapixels: Sequence[float] = MEGAPIXELS
    holes: Sequence[float] = HOLES
    methods: Sequence[str] = METHODS
    rounds: int = 5
    limit: float = 60.0
    threads: int = 0
    device: str = "cpu"
    url: str = ""
    pid: int = 0
    api_key: str = ""
    photo: str = SAMPLE

    def __post_init__(self) -> None:
        """Raises: ConfigError naming the value and what it may be."""
        for method in self.methods:
            if method not in METHODS:
                raise ConfigError(f"method {method!r}: choose of {', '.join(METHODS)}")
        if not (self.megapixels and self.holes and self.methods):
            raise ConfigError("name at least one size, one hole and one method")
        if self.rounds < 1 or self.limit <= 0 or self.threads < 0:
            raise ConfigError("rounds: at least 1; limit: over 0; threads: at least 0")
        self.cases()

    def cases(self) -> list[ServeCase]:
        """Every size with every hole, small before large."""
        return [
            ServeCase(round(math.sqrt(size * 1e6)), hole)
            for size in sorted(self.megapixels)
            for hole in sorted(self.holes)
        ]
