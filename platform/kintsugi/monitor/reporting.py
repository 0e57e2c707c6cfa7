"""What a training job shows while and after it trains; knows no Ray."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from kintsugi.config.run_config import JobConfig, deciding_values
from kintsugi.monitor.exporters import PrometheusExporter, TensorBoardWriter
from kintsugi.monitor.mlflow_tracker import MlflowTracker
from kintsugi.monitor.tail import Watcher, following
from kintsugi.monitor.terminal import format_duration, watcher_for_terminal
from kintsugi.monitor.trackers import Ending, Tracker, TrackerWatcher
from kintsugi.monitor.wandb_tracker import WandbTracker
from kintsugi.runs.run import Run, Trained

# The losses by which stages' checkpoints are compared.
CRITERIA = ("perceptual", "reconstruction")


@dataclass(frozen=True)
class DisplayOptions:
    """Where else than on the terminal a run is shown; no part of its identity.

    Attributes:
        tensorboard: Write event files into the run's folder `tensorboard`.
        metrics_port: Serve Prometheus metrics at this port while the job runs; 0 = do not.
        metrics_host: Address to serve them at.
        mlflow: URI of an MLflow store that gets the rows; "" = none.
        mlflow_experiment: Of the run there.
        wandb: Project of Weights & Biases that gets the rows; "" = none.
    """

    tensorboard: bool = False
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    mlflow: str = ""
    mlflow_experiment: str = "kintsugi"
    wandb: str = ""


@contextmanager
def reporting(config: JobConfig, shown: DisplayOptions) -> Iterator[Callable[[], None]]:
    """Show a run that trains while inside.

    Gives what to call where the run was asked to end before its last step; an exception says by
    itself that it was interrupted, or failed.

    Raises:
        ConfigError: the port is taken, or what is asked for is not installed.
        StorageError: the run's folder cannot be read at the beginning.
    """
    run = Run.of(config)
    with ExitStack() as stack:
        watchers: list[Watcher] = []
        trackers = _trackers(config, run, shown)
        if shown.metrics_port:
            exporter = PrometheusExporter(
                run.name, host=shown.metrics_host, port=shown.metrics_port
            )
            stack.callback(exporter.close)
            watchers.append(exporter)
            print(f"metrics at http://{shown.metrics_host}:{exporter.port}/metrics", flush=True)
        if shown.tensorboard:
            board = TensorBoardWriter(run.storage.join("tensorboard"))
            stack.callback(board.close)
            watchers.append(board)
            print(f"tensorboard --logdir {board.storage.uri}", flush=True)
        watchers.append(watcher_for_terminal(config.loop.max_steps))
        stack.enter_context(following(run.storage.join("metrics"), [*watchers, *trackers]))

        def end_as(ending: Ending) -> None:
            for tracker in trackers:
                tracker.end_as(ending)

        try:
            yield partial(end_as, "stopped")
        except BaseException as error:
            end_as("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
            raise


def _trackers(config: JobConfig, run: Run, shown: DisplayOptions) -> list[TrackerWatcher]:
    values = deciding_values(config.to_dict())
    asked: list[Tracker] = []
    if shown.mlflow:
        asked.append(MlflowTracker(shown.mlflow, shown.mlflow_experiment, run.name, values))
    if shown.wandb:
        asked.append(WandbTracker(shown.wandb, run.name, run.storage, values))
    return [TrackerWatcher(tracker, run.storage) for tracker in asked]


def summary(trained: Trained, seconds: float) -> list[str]:
    """What a submission that took so long did, in lines."""
    first, last, rows = trained.first_step, trained.last_step, trained.metrics
    if first == last:
        lines = [f"already finished at step {last}: {trained.run}"]
    else:
        lines = [f"steps {first} to {last} in {format_duration(seconds)}: {trained.run}"]
    titles = {"fixed": "the fixed photographs", "held_out": "held-out photographs"}
    for kind, title in titles.items():
        for loss in CRITERIA:
            key = f"{kind}/{loss}"
            measured = [row for row in rows if key in row]
            if len(measured) > 1:
                one, other = measured[0], measured[-1]
                lines.append(
                    f"{loss} loss on {title}: {one[key]:.4f} at step {one['step']},"
                    f" {other[key]:.4f} at step {other['step']}"
                )
    if trained.stopped:
        lines.append(f"stopped at step {last}: submit the job again to go on")
    return lines
