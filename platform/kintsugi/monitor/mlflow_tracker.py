"""A run in MLflow, on a server or in a file of this machine; imports it only when it is used."""

import importlib.util
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from kintsugi.errors import ConfigError
from kintsugi.monitor.tail import Row
from kintsugi.monitor.trackers import Ending, scalars

if TYPE_CHECKING:
    from mlflow import MlflowClient

# As many as MLflow takes in one call.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
_PARAM_CHARACTERS = 500
# "KILLED" is MLflow's word for a run that was ended from outside.
_STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# As databases read it: a password may hold all but `@`, and that as well where it is meant to.
_URI = re.compile(
    r"(?P<scheme>[\w+.-]+://)"
    r"(?:(?P<user>[^:/?#@]*(?::[^@]*)?(?:@[^/?#@]*)*)@)?"
    r"(?P<rest>[^?#]*)(?:\?(?P<query>.*))?",
    re.DOTALL,
)


class MlflowTracker:
    """See `Tracker`."""

    name = "mlflow"

    def __init__(self, uri: str, experiment: str, run: str, values: Mapping[str, Any]) -> None:
        """
        Args:
            uri: Of MLflow's store: http://..., sqlite:///...
            experiment: That the run belongs to; made if there is none of this name.
            run: The name that it is shown by.
            values: What decides the run, for its parameters.

        Raises: ConfigError: MLflow is not installed.
        """
        if importlib.util.find_spec("mlflow") is None:
            raise ConfigError('--mlflow needs mlflow: pip install "kintsugi-inpainting[mlflow]"')
        place, self.secrets = without_credentials(uri)
        self.place = f"{place} {experiment}"
        self._uri = uri
        self._experiment = experiment
        self._run = run
        self._values = values
        self._identity = ""
        self._client: MlflowClient | None = None

    def open(self, identity: str) -> str:
        """See Tracker."""
        # Read when it is imported: MLflow's makers learn nothing of a run.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)
        self._identity = identity or self._begin(self._client)
        self._client.update_run(self._identity, status="RUNNING")
        return self._identity

    def _begin(self, client: "MlflowClient") -> str:
        from mlflow.entities import Param

        known = client.get_experiment_by_name(self._experiment)
        where = known.experiment_id if known else client.create_experiment(self._experiment)
        identity: str = client.create_run(where, run_name=self._run).info.run_id
        params = [Param(key, str(value)[:_PARAM_CHARACTERS]) for key, value in self._values.items()]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            client.log_batch(identity, params=params[start : start + _PARAMS_AT_ONCE])
        return identity

    def send(self, rows: Sequence[Row]) -> None:
        """See Tracker."""
        from mlflow.entities import Metric

        assert self._client is not None
        now = round(1000 * time.time())
        metrics = [
            Metric(key, value, now, row["step"])
            for row in rows
            for key, value in scalars(row).items()
        ]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(
                self._identity, metrics=metrics[start : start + _METRICS_AT_ONCE]
            )

    def close(self, ending: Ending) -> None:
        """See Tracker."""
        assert self._client is not None
        self._client.set_terminated(self._identity, _STATUS[ending])


def without_credentials(uri: str) -> tuple[str, tuple[str, ...]]:
    """A store's URI without user, password and query, and what of those nobody may read."""
    found = _URI.match(uri)
    if found is None:
        return uri, ()
    user, query = found["user"] or "", found["query"] or ""
    password = user.partition(":")[2]
    parts = [user, query, *(value for _, value in parse_qsl(query)), password, unquote(password)]
    return found["scheme"] + found["rest"], tuple(part for part in parts if part)
