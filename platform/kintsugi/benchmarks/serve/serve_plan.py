"""What is to be measured; measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kintsugi.benchmarks.match.inputs import SAMPLE
from kintsugi.errors import ConfigError

Arrivals = Literal["poisson", "fixed"]
ARRIVALS = ("poisson", "fixed")
SMALLEST_SIDE = 64


@dataclass(frozen=True)
class ServeCase:
    """A square photograph with a square hole in its middle.

    Attributes:
        side_px: The side of the photograph in pixels.
        hole_share: The share of its area that is hole, over 0 and under 1.
    """

    side_px: int
    hole_share: float

    def __post_init__(self) -> None:
        if self.side_px < SMALLEST_SIDE:
            raise ConfigError(f"size {self.side_px}: at least {SMALLEST_SIDE} px")
        if not 0 < self.hole_share < 1:
            raise ConfigError(f"hole {self.hole_share:g}: a share over 0 and under 1, such as 0.2")

    @property
    def megapixels(self) -> float:
        """The photograph's size."""
        return self.side_px**2 / 1e6

    def __str__(self) -> str:
        return f"{self.side_px} px, {100 * self.hole_share:g} % hole"


@dataclass(frozen=True)
class ServePlan:
    """One run.

    Attributes:
        release: URI of the release that the graph serves and one process runs.
        url: The URL of a running service to measure; "" starts one on this machine.
        pid: The number of the process at the top of that service on this machine, whose memory is
            watched with that of all it has started; 0 for none.
        api_key: For a service that asks for one.
        photo: URI of the photograph, or ``samples/NAME``.
        sizes: Sides in pixels; the first is the comparison's and the overload's.
        holes: Shares of the area, as in `ServeCase`; likewise.
        rounds: In which graph and one process take turns; 0 leaves the comparison out.
        threads: The threads of PyTorch in one process.
        seconds: How long each load lasts.
        rate: Requests a second; 0 takes half of what the service answers.
        arrivals: "poisson", or "fixed" for equal gaps.
        overload: Times as many requests as the service answers; 0 leaves it out.
        timeout_seconds: How long an answer is waited for.
        seed: Decides the moments of arrival.
    """

    release: str
    url: str = ""
    pid: int = 0
    api_key: str = ""
    photo: str = SAMPLE
    sizes: Sequence[int] = (512, 256)
    holes: Sequence[float] = (0.2, 0.05)
    rounds: int = 7
    threads: int = 2
    seconds: float = 20.0
    rate: float = 0.0
    arrivals: Arrivals = "poisson"
    overload: float = 10.0
    timeout_seconds: float = 180.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises: ConfigError naming the value and what it may be."""
        if self.arrivals not in ARRIVALS:
            raise ConfigError(f"arrivals {self.arrivals}: choose {' or '.join(ARRIVALS)}")
        if not self.sizes or not self.holes:
            raise ConfigError("name at least one size and one hole")
        for name in ("rounds", "rate", "overload", "pid"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name):g}: at least 0")
        if self.seconds <= 0 or self.threads < 1:
            raise ConfigError("seconds must be over 0, and threads at least 1")
        self.cases()

    def cases(self) -> list[ServeCase]:
        """Every size with every hole."""
        return [ServeCase(side, hole) for side in self.sizes for hole in self.holes]
