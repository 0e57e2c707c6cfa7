"""A run's rows for other programs: Prometheus and TensorBoard; knows not where rows come from."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.errors import ConfigError
from kintsugi.storage.storage import Storage

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

Row = Mapping[str, Any]

# An event file on an object store is written whole each time: not at every row.
PUBLISH_SECONDS = 30.0
# What each metric means, by its name after `kintsugi_train_` and the row's key.
_GAUGES = {
    "step": ("step", "Optimiser steps done."),
    "step_seconds": ("step_seconds", "Mean duration of a step since the row before."),
    "wait_share": (
        "data_wait_share",
        "Share of the time spent waiting for data, 0-1, of all workers.",
    ),
    "images_per_second": ("images_per_second", "Photographs per second of all workers."),
    "learning_rate": ("learning_rate", "Of the generator."),
    "seconds_left": ("seconds_left", "Until the last step, at the pace of the last rows."),
    "memory_mib": ("memory_mib", "Most memory of any worker, in MiB."),
}
_NAMED_GAUGES = {
    "loss": ("loss", "Losses of the newest row, weighted, by name."),
    "grad_norm": ("grad_norm", "Length of the gradients by network."),
    "held_out": ("held_out_loss", "Losses on held-out photographs by name."),
    "ranks": (
        "ranks",
        "Seconds a step of the fastest and the slowest worker, which it is; memory alike.",
    ),
    "fixed": ("fixed_loss", "Losses on the photographs of the sample pictures by name."),
}


class PrometheusExporter:
    """Serves the newest values of a run at `http://host:port/metrics`."""

    def __init__(self, run: str, *, host: str, port: int) -> None:
        """Serve from now on; ``run`` is the label of every metric.

        Args:
            run: Name of the run.
            host: Address to listen at; 127.0.0.1 is reached from this machine only.
            port: 0 = one that is free; see ``self.port``.

        Raises: ConfigError when the port is taken or the address not this machine's.
        """
        from prometheus_client import CollectorRegistry, Gauge, start_http_server

        self.run = run
        registry = CollectorRegistry()
        self._gauges = {
            key: Gauge(f"kintsugi_train_{name}", text, ["run"], registry=registry)
            for key, (name, text) in _GAUGES.items()
        }
        self._named = {
            key: Gauge(f"kintsugi_train_{name}", text, ["run", "name"], registry=registry)
            for key, (name, text) in _NAMED_GAUGES.items()
        }
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(
                f"--metrics-port {port} at {host}: {error.strerror or error}: choose another port,"
                " or 0 for none"
            ) from error
        self.port = int(self._server.server_port)

    def begin(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        self.show(rows)

    def show(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        for row in rows:
            for key, value in row.items():
                kind, _, name = key.partition("/")
                if name and kind in self._named:
                    self._named[kind].labels(run=self.run, name=name).set(value)
                elif key in self._gauges:
                    self._gauges[key].labels(run=self.run).set(value)

    def close(self) -> None:
        """See Watcher."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class TensorBoardWriter:
    """Event files in the run's folder `tensorboard`, always those of the run's whole history.

    They are a view of the run's metrics, made again by each submission. On an object
    store, where nothing can be appended, they are written locally and published whole.
    """

    def __init__(self, storage: Storage) -> None:
        """Args: ``storage``: the run's `tensorboard` folder; what is there is replaced.

        Raises: ConfigError when tensorboardX, which Ray Train brings, is missing.
        """
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                '--tensorboard needs tensorboardX: pip install "kintsugi-inpainting[tensorboard]"'
            ) from error
        self.storage = storage
        self._temporary = tempfile.TemporaryDirectory() if storage.is_bucket else None
        self._folder = Path(self._temporary.name if self._temporary else storage.uri)
        self._writer: SummaryWriter | None = None
        self._files = 0
        self._last_step = 0
        self._published = time.monotonic()

    def begin(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        for name in self.storage.list():
            self.storage.delete(name)
        self._open(None)
        self._add(rows)
        self._publish()

    def show(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        self._add(rows)
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self._publish()

    def close(self) -> None:
        """See Watcher."""
        if self._writer is not None:
            self._writer.close()
            self._publish()
            self._writer = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _open(self, purge_step: int | None) -> None:
        from tensorboardX import SummaryWriter

        if self._writer is not None:
            self._writer.close()
        self._files += 1
        # Else a second file of the same second would have the first one's name.
        suffix = f".{self._files:04d}"
        self._writer = SummaryWriter(
            str(self._folder), purge_step=purge_step, filename_suffix=suffix
        )

    def _add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row["step"] < self._last_step:
                # Trained again after a failure: makes TensorBoard forget what came after.
                self._open(row["step"])
            self._last_step = row["step"]
            assert self._writer is not None
            for key, value in row.items():
                if key != "step":
                    tag = key if "/" in key else f"speed/{key}"
                    self._writer.add_scalar(tag, value, row["step"])
        if self._writer is not None:
            self._writer.flush()

    def _publish(self) -> None:
        if self._temporary is not None:
            for path in sorted(self._folder.iterdir()):
                self.storage.write(path.name, path.read_bytes())
        self._published = time.monotonic()
