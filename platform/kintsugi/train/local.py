"""A run trained in this process alone, to its end or until SIGTERM; knows no Ray.

For a machine that has only PyTorch. The same losses and the same folder as with one Ray
worker: a run that began here can go on there, and the other way round.
"""

import threading

from kintsugi.config.run_config import JobConfig
from kintsugi.devices import check_device
from kintsugi.errors import ConfigError
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run, Trained
from kintsugi.runs.warm_start import check_run
from kintsugi.train.loop import is_finished
from kintsugi.train.sigterm import on_first_sigterm
from kintsugi.train.worker import train_locally


def fit(config: JobConfig) -> Trained:
    """Train the run here until it is finished, or SIGTERM arrives.

    As `kintsugi.train.ray_trainer.fit`, but for one worker, and of shards that are there already.

    Raises:
        ConfigError: it asks for more than one worker, or a GPU that is not here; or is another run
            than the folder's.
        StorageError: shards, encoder or stage 1 are missing or altered.
    """
    if config.workers.count > 1:
        raise ConfigError(
            f"workers.count={config.workers.count}: without Ray there is one; set it to 1"
        )
    device = "cuda" if config.workers.use_gpu else "cpu"
    check_device(device)
    check_run(config)
    run = Run.of(config)
    first = last = run.checkpoints.newest_whole()
    stopped = False
    if not is_finished(config.loop, config.held_out, run.checkpoints.progress(first)):
        asked = threading.Event()
        with on_first_sigterm(asked.set):
            train_locally(config, device, should_stop=asked.is_set)
        last = run.checkpoints.newest_whole()
        stopped = asked.is_set() and not is_finished(
            config.loop, config.held_out, run.checkpoints.progress(last)
        )
    return Trained(run.storage.uri, first, last, stopped, read_metrics(run.storage.join("metrics")))
