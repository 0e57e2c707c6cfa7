"""A run in Weights & Biases, online or offline as WANDB_MODE says; imports it when it is used."""

import importlib.util
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kintsugi.errors import ConfigError
from kintsugi.monitor.tail import Row
from kintsugi.monitor.trackers import Ending, scalars
from kintsugi.storage.storage import Storage

if TYPE_CHECKING:
    import wandb

# A server that answers needs less to begin a run, and to take its last rows. W&B's own service
# holds this process up until its runs have ended: without these limits, as long as the network is
# gone.
BEGIN_SECONDS, END_SECONDS = 45.0, 45.0
# To W&B 0 is finished and every other number failed. It shows the number: that of SIGTERM for what
# was asked to end, however it was asked.
_EXIT_CODES: Mapping[Ending, int] = {"finished": 0, "stopped": 143, "failed": 1}


class WandbTracker:
    """See `Tracker`."""

    name = "wandb"
    secrets: tuple[str, ...] = ()

    def __init__(self, project: str, run: str, storage: Storage, values: Mapping[str, Any]) -> None:
        """
        Args:
            project: That the run belongs to.
            run: The name that it is shown by.
            storage: The run's folder: its own files are kept there, unless it is a bucket or
                WANDB_DIR names another.
            values: What decides the run, for its configuration.

        Raises: ConfigError: wandb is not installed.
        """
        if importlib.util.find_spec("wandb") is None:
            raise ConfigError('--wandb needs wandb: pip install "kintsugi-inpainting[wandb]"')
        self.place = project
        self._project = project
        self._name = run
        self._values = values
        elsewhere = storage.is_bucket or "WANDB_DIR" in os.environ
        self._folder = None if elsewhere else storage.uri
        self._run: wandb.Run | None = None

    def open(self, identity: str) -> str:
        """See Tracker."""
        # Read when it is imported: errors stay here.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        identity = identity or secrets.token_hex(4)
        offline = os.environ.get("WANDB_MODE") == "offline"
        self._run = wandb.init(
            project=self._project,
            name=self._name,
            id=identity,
            # Offline it knows of no run that could be resumed; `wandb sync --append` joins them.
            resume=None if offline else "allow",
            config=dict(self._values),
            dir=self._folder,
            settings=wandb.Settings(
                # The job's own process trains nothing: its output and its load say little.
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                init_timeout=BEGIN_SECONDS,
                # What it does not get stays in its files, for `wandb sync`.
                finish_timeout=END_SECONDS,
            ),
        )
        # Rows of one step come one after the other, and some come again.
        self._run.define_metric("*", step_metric="step")
        return identity

    def send(self, rows: Sequence[Row]) -> None:
        """See Tracker."""
        assert self._run is not None
        for row in rows:
            self._run.log({"step": row["step"], **scalars(row)})

    def close(self, ending: Ending) -> None:
        """See Tracker."""
        assert self._run is not None
        try:
            if ending == "stopped":
                # With this and another exit code than 0 it is shown as preempted, not as failed.
                self._run.mark_preempting()
        finally:
            # Left to W&B it ends with this process, with that one's exit code and without the mark.
            self._run.finish(exit_code=_EXIT_CODES[ending])
