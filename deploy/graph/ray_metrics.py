"""The service's metrics as Ray exports them, with `ray_` in front of their names."""

from collections.abc import Mapping, Sequence

from ray.serve.metrics import Counter, Gauge, Histogram

from kintsugi.deploy.observability.metrics import Metric


class RayMetrics:
    """A `kintsugi.deploy.observability.metrics.Record` in a replica."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._exported = {metric.name: _exported(metric) for metric in metrics}

    def __call__(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        match self._exported[metric.name]:
            case Counter() as counter:
                counter.inc(value, tags=dict(labels))
            case Gauge() as gauge:
                gauge.set(value, tags=dict(labels))
            case Histogram() as histogram:
                histogram.observe(value, tags=dict(labels))


def _exported(metric: Metric) -> Counter | Gauge | Histogram:
    common = {"description": metric.means, "tag_keys": metric.labels}
    match metric.kind:
        case "counter":
            return Counter(metric.name, **common)
        case "gauge":
            return Gauge(metric.name, **common)
        case "histogram":
            return Histogram(metric.name, boundaries=[*metric.boundaries], **common)
