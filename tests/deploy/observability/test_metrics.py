"""Each report of the HTTP interface is counted under the labels that its metric declares."""

from collections.abc import Mapping

import pytest
from prometheus_client import generate_latest

from kintsugi.deploy.engine import Answered
from kintsugi.deploy.observability.metrics import OF_HTTP, Metric, MetricsObserver, answer_labels
from kintsugi.deploy.observability.process_metrics import ProcessMetrics

ANSWER = Answered("ok", "/v1/inpaint", 200, "street@sha256:0", 4.2, 1.5)


def report_all(observer: MetricsObserver) -> None:
    observer.answered(ANSWER)
    observer.waiting(3)
    observer.jobs(2, 60.0)
    observer.job_ended("done")
    observer.stage("decode", 0.02)
    observer.opened(1000, 2000, 0.25)
    with observer.in_progress():
        pass


def test_each_metric_is_recorded_with_its_labels() -> None:
    recorded: list[str] = []

    def record(metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        assert tuple(labels) == metric.labels
        recorded.append(metric.name)

    report_all(MetricsObserver(record))
    assert set(recorded) == {metric.name for metric in OF_HTTP}


def test_what_one_process_shows() -> None:
    metrics = ProcessMetrics()
    observer = MetricsObserver(metrics)
    with observer.in_progress():
        busy = generate_latest(metrics.registry).decode()
    assert "kintsugi_requests_in_progress 1.0" in busy
    report_all(observer)
    shown = generate_latest(metrics.registry).decode().splitlines()
    answer = 'megapixels="4-16",release="street@sha256:0",route="/v1/inpaint",status="2xx"'
    for line in (
        "kintsugi_requests_total{" + answer.replace("release", 'outcome="ok",release', 1) + "} 1.0",
        "kintsugi_request_seconds_sum{" + answer + "} 1.5",
        "kintsugi_requests_in_progress 0.0",
        "kintsugi_requests_waiting 3.0",
        "kintsugi_jobs_waiting 2.0",
        "kintsugi_jobs_oldest_seconds 60.0",
        'kintsugi_jobs_total{outcome="done"} 1.0',
        'kintsugi_stage_seconds_sum{stage="decode"} 0.02',
        "kintsugi_megapixels_sum 2.0",
        "kintsugi_hole_fraction_sum 0.25",
    ):
        assert line in shown, line


@pytest.mark.parametrize(
    ("megapixels", "size"),
    [(None, ""), (0.99, "0-1"), (1.0, "1-4"), (4.19, "1-4"), (4.2, "4-16"), (16.0, "16-")],
)
def test_sizes_are_classes(megapixels: float | None, size: str) -> None:
    answer = Answered("ok", "/v1/inpaint", 200, "", megapixels, 1.0)
    assert answer_labels(answer)["megapixels"] == size


def test_nobody_was_answered() -> None:
    labels = answer_labels(Answered("client_gone", "/v1/inpaint", 0, "", None, 1.0))
    assert labels["status"] == "none"
