"""A run's rows in MLflow's own store: those of the run, and of a resumed one in the same run."""

import dataclasses
import os
import signal
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE, STOPPED
from kintsugi.jobs._train import train_config
from kintsugi.monitor import mlflow_tracker
from kintsugi.monitor.mlflow_tracker import MlflowTracker, without_credentials
from kintsugi.monitor.reporting import DisplayOptions, reporting
from kintsugi.monitor.trackers import TrackerWatcher, scalars
from kintsugi.runs.metrics_log import MetricsWriter, read_metrics
from kintsugi.storage.storage import Storage
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_tracker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install \"kintsugi-inpainting\[mlflow\]\""):
        MlflowTracker("sqlite:///a.db", "kintsugi", "first", {})


@pytest.mark.parametrize(
    ("uri", "place", "secrets"),
    [
        ("http://host:5000", "http://host:5000", ()),
        ("sqlite:////home/a@b/m.db", "sqlite:////home/a@b/m.db", ()),
        ("databricks", "databricks", ()),
        ("https://token@host/path", "https://host/path", ("token",)),
        ("http://ana:p%40s@host", "http://host", ("ana:p%40s", "p%40s", "p@s")),
        ("mysql://ana:p/?s@host/db", "mysql://host/db", ("ana:p/?s", "p/?s", "p/?s")),
        ("http://ana:p@s@host/a", "http://host/a", ("ana:p@s", "p@s", "p@s")),
        ("mysql://host/db?password=hid", "mysql://host/db", ("password=hid", "hid")),
    ],
)
def test_a_place_holds_no_credentials(uri: str, place: str, secrets: tuple[str, ...]) -> None:
    assert without_credentials(uri) == (place, secrets)


@pytest.mark.slow
# MLflow's own libraries have some.
@pytest.mark.filterwarnings("ignore")
def test_neither_the_folder_nor_a_warning_holds_the_password_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow", reason="pip install 'kintsugi-inpainting[mlflow]'")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    tracker = MlflowTracker(f"http://ana:s3cret@127.0.0.1:{port}", "holes", "first", {})
    assert tracker.place == f"http://127.0.0.1:{port} holes"
    watcher = TrackerWatcher(tracker, Storage(tmp_path))
    watcher.begin([])
    watcher.show([{"step": 1, "loss/a": 1.0}])
    watcher.close()
    (record,) = [each for each in caplog.records if each.name.startswith("kintsugi")]
    assert f"http://...@127.0.0.1:{port}/api" in record.getMessage()
    assert "s3cret" not in caplog.text


def client_of(uri: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)


def only_run(client: Any) -> Any:
    experiment = client.get_experiment_by_name("holes")
    (found,) = client.search_runs([experiment.experiment_id])
    return found


@pytest.mark.slow
# MLflow's own libraries have some.
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_sigterm_stops_is_killed_and_finished_once_it_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="pip install 'kintsugi-inpainting[mlflow]'")
    pytest.importorskip("sqlalchemy", reason="pip install 'kintsugi-inpainting[mlflow]'")
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=6, batch_size=1)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    add = MetricsWriter.add

    def interrupt(writer: MetricsWriter, row: dict[str, float]) -> None:
        add(writer, row)
        if row["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    def submit() -> int:
        return train_config("stage1", config, False, {"mlflow": uri, "mlflow_experiment": "holes"})

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "add", interrupt)
        assert submit() == STOPPED
    client = client_of(uri)
    assert only_run(client).info.status == "KILLED"
    assert submit() == DONE
    assert only_run(client).info.status == "FINISHED"


@pytest.mark.slow
# MLflow's own libraries have some.
@pytest.mark.filterwarnings("ignore")
def test_its_store_holds_the_rows_of_a_run_that_was_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow", reason="pip install 'kintsugi-inpainting[mlflow]'")
    pytest.importorskip("sqlalchemy", reason="pip install 'kintsugi-inpainting[mlflow]'")
    pack_photos(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    shown = DisplayOptions(mlflow=uri, mlflow_experiment="holes")
    config = debug_config(tmp_path, max_steps=2, sample_every=2, batch_size=1)
    with reporting(config, shown):
        run = train_locally(config)
    longer = dataclasses.replace(config, loop=dataclasses.replace(config.loop, max_steps=4))
    with pytest.raises(RuntimeError, match="lost"), reporting(longer, shown):  # noqa: PT012
        train_locally(longer)
        raise RuntimeError("the machine is lost")
    assert not [each for each in caplog.records if each.name.startswith("kintsugi")]

    client = client_of(uri)
    found = only_run(client)
    assert (found.info.run_name, found.info.status) == ("debug-stage1", "FAILED")
    assert found.data.params["losses.perceptual"] == "10.0"
    assert "loop.max_steps" not in found.data.params, "it may change"
    rows = read_metrics(run.storage.join("metrics"))
    assert rows[-1]["step"] == 4
    assert sum("fixed/perceptual" in row for row in rows) == 3
    expected = sorted(
        (key, row["step"], value) for row in rows for key, value in scalars(row).items()
    )
    stored = sorted(
        (metric.key, metric.step, metric.value)
        for key in found.data.metrics
        for metric in client.get_metric_history(found.info.run_id, key)
    )
    assert stored == expected
