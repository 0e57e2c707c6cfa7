"""What the service counts and measures, declared once for the graph and for one process.

Where numbers go is a `Record`: Ray exports them (`kintsugi.deploy.graph.ray_metrics`), or the
process shows them itself (`kintsugi.deploy.observability.process_metrics`).
"""

import bisect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from kintsugi.deploy.engine import Answered, Observer

# Of latency: few values each.
ANSWER_LABELS = ("route", "status", "release", "megapixels")
# Where one class of sizes ends, in megapixels, and the classes' names.
_SIZE_ENDS, _SIZES = [1.0, 4.2, 16.0], ["0-1", "1-4", "4-16", "16-"]


@dataclass(frozen=True)
class Metric:
    """One metric, as Prometheus has them.

    Attributes:
        kind: A counter is added to, a gauge set, a histogram given an observation.
        name: Without `_total`, `_bucket` and the like, which exporters add.
        means: For people.
        labels: Names of its labels.
        boundaries: Upper ends of a histogram's buckets.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    means: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


REQUESTS = Metric("counter", "kintsugi_requests", "Answered requests", ("outcome", *ANSWER_LABELS))
ANSWERS = Metric(
    "histogram",
    "kintsugi_request_seconds",
    "Seconds from a request's header to the end of its answer",
    ANSWER_LABELS,
    # Fine where people wait, up to the deadline.
    (0.1, 0.3, 1, 2, 4, 7, 10, 15, 20, 30, 45, 60, 90, 120, 150),
)
IN_PROGRESS = Metric(
    "gauge",
    "kintsugi_requests_in_progress",
    "Fills and transfers that are being computed or wait for it",
)
WAITING = Metric("gauge", "kintsugi_requests_waiting", "Requests that wait for their turn")
JOBS_WAITING = Metric("gauge", "kintsugi_jobs_waiting", "Jobs that wait here")
OLDEST_JOB = Metric(
    "gauge",
    "kintsugi_jobs_oldest_seconds",
    "How long ago the oldest job was sent that is here and has not ended",
)
JOBS = Metric("counter", "kintsugi_jobs", "Jobs that have ended", ("outcome",))
STAGES = Metric(
    "histogram",
    "kintsugi_stage_seconds",
    "Seconds that a request spends in a stage",
    ("stage",),
    # From encoding a thumbnail to the deadline.
    (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120),
)
MEGAPIXELS = Metric(
    "histogram",
    "kintsugi_megapixels",
    "Size of a request's image",
    boundaries=(0.1, 0.3, 1, 2, 4, 8, 16, 32),
)
HOLE_FRACTION = Metric(
    "histogram",
    "kintsugi_hole_fraction",
    "Share of its image that a request's mask covers",
    boundaries=(0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75),
)
BATCH_SIZE = Metric(
    "histogram",
    "kintsugi_batch_size",
    "Requests that a node computed together",
    ("stage",),
    (1, 2, 4, 8, 16),
)
RELEASE_REFUSED = Metric(
    "gauge",
    "kintsugi_release_refused",
    "1 while a Refiner answers with an older release, since it cannot read the one it was given",
)
# What the HTTP interface counts, and what each node does.
OF_HTTP = (
    REQUESTS,
    ANSWERS,
    IN_PROGRESS,
    WAITING,
    JOBS_WAITING,
    OLDEST_JOB,
    JOBS,
    STAGES,
    MEGAPIXELS,
    HOLE_FRACTION,
)
OF_NODES = (STAGES, BATCH_SIZE, RELEASE_REFUSED)

# A metric, its value now (of a counter: what is added) and its labels.
Record = Callable[[Metric, float, Mapping[str, str]], None]


class MetricsObserver(Observer):
    """Counts what the HTTP interface reports."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._in_progress = 0

    def answered(self, answer: Answered) -> None:
        """See Observer."""
        labels = answer_labels(answer)
        self._record(REQUESTS, 1, {"outcome": answer.outcome, **labels})
        self._record(ANSWERS, answer.seconds, labels)

    def waiting(self, requests: int) -> None:
        """See Observer."""
        self._record(WAITING, requests, {})

    def jobs(self, waiting: int, oldest_seconds: float) -> None:
        """See Observer."""
        self._record(JOBS_WAITING, waiting, {})
        self._record(OLDEST_JOB, oldest_seconds, {})

    def job_ended(self, outcome: str) -> None:
        """See Observer."""
        self._record(JOBS, 1, {"outcome": outcome})

    def stage(self, name: str, seconds: float) -> None:
        """See Observer."""
        self._record(STAGES, seconds, {"stage": name})

    def opened(self, height: int, width: int, hole_share: float | None) -> None:
        """See Observer."""
        self._record(MEGAPIXELS, height * width / 1e6, {})
        if hole_share is not None:
            self._record(HOLE_FRACTION, hole_share, {})

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Around one fill or transfer, its waiting included."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._in_progress += change
        self._record(IN_PROGRESS, self._in_progress, {})


def answer_labels(answer: Answered) -> dict[str, str]:
    """The values of ANSWER_LABELS for one answer."""
    size = ""
    if answer.megapixels is not None:
        size = _SIZES[bisect.bisect(_SIZE_ENDS, answer.megapixels)]
    return {
        "route": answer.route,
        "status": f"{answer.status // 100}xx" if answer.status else "none",
        "release": answer.release,
        "megapixels": size,
    }
