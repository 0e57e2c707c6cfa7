"""What the loop reports -> the folder of its run; knows no Ray.

Rows, sample pictures and checkpoints are written there as long as the run is this submission's.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from kintsugi.collectives import all_gather, broadcast
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.runs.lease import Lease
from kintsugi.runs.metrics_log import Metrics, MetricsWriter
from kintsugi.runs.run import Run
from kintsugi.train.hangs import Place
from kintsugi.train.upload import Uploads

# Of the time that ranks wait for one another: how long they do for a word about an upload.
_SHARE_OF_TIMEOUT = 0.1

# What the program that started the ranks learns of a checkpoint, on every rank.
Announce = Callable[[Metrics, Path | None, int], None]


class RunReporter:
    """Writes what the loop reports into the run's folder, in threads that the loop only waits
    for where they fall behind."""

    def __init__(
        self,
        run: Run,
        metrics: MetricsWriter | None,
        lease: Lease,
        corrupt: CorruptRows,
        announce: Announce,
        publish: Callable[[Path, int], None],
        *,
        device: torch.device,
        timeout_s: float,
        place: Place,
    ) -> None:
        """
        Args:
            run: Where it writes.
            metrics: The metrics of the first rank; None on all others.
            lease: Asked before every checkpoint is written.
            corrupt: Shared by all ranks at every checkpoint.
            announce: Called for every checkpoint.
            publish: Uploads a checkpoint.
            device: On which this rank computes.
            timeout_s: Seconds after which ranks that wait for one another have failed.
            place: Where this rank is.
        """
        self.run = run
        self.metrics = metrics
        self.lease = lease
        self.corrupt = corrupt
        self.announce = announce
        self.publish = publish
        self.device = device
        self.patience_s = _SHARE_OF_TIMEOUT * timeout_s
        self.place = place
        self.uploads = Uploads(self._publish)

    def log(self, row: Metrics) -> None:
        """See Reporter."""
        if self.metrics is not None:
            self.metrics.add(row)

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        """See Reporter."""
        self.corrupt.learn(all_gather(self.corrupt.take_new()))
        self._wait_for_storage()
        if self.metrics is not None:
            self.metrics.close_part()
        if folder is not None:
            self.uploads.submit(folder, step)
        # What the upload before this one has found.
        self.lease.check(look=False)
        self.announce(row, folder, step)

    def finish(self) -> None:
        """See Reporter."""
        self._wait_for_storage()
        if self.metrics is not None:
            self.metrics.flush()
        self._wait_for_storage()
        if self.metrics is not None:
            self.metrics.wait()
        self.uploads.wait()
        self.lease.check(look=False)

    def _wait_for_storage(self) -> None:
        """All ranks wait for what the first one writes: an upload may take longer than a step."""
        arrived = False
        while not arrived:
            # The first rank's word. No exchange takes longer than its patience.
            arrived = broadcast(float(self._has_written()), self.device) > 0
            self.place.arrive(self.place.step)

    def _has_written(self) -> bool:
        written = self.metrics is None or self.metrics.has_written(self.patience_s / 2)
        return self.uploads.has_arrived(self.patience_s / 2) and written

    def _publish(self, folder: Path, step: int) -> None:
        # Looked at last: nothing of a run that is another's is written.
        if self.lease.is_lost():
            return
        self.publish(folder, step)

    def sample(self, row: Metrics, png: bytes, step: int) -> None:
        """See Reporter."""
        if self.lease.is_lost():
            return
        self.run.storage.join("samples").write(f"step-{step:08d}.png", png)
        self.log(row)
