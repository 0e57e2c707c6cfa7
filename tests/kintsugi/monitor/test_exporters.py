"""Prometheus and TensorBoard get a run's rows: scraped over HTTP, and read back from the files."""

import struct
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kintsugi.errors import ConfigError
from kintsugi.monitor.exporters import PrometheusExporter, TensorBoardWriter
from kintsugi.runs.metrics_log import Metrics
from kintsugi.storage.storage import Storage

LOOPBACK = "127.0.0.1"
ROW: Metrics = {
    "step": 10,
    "loss/perceptual": 2.5,
    "loss/discriminator": 1.25,
    "held_out/perceptual": 3.5,
    "grad_norm/generator": 12.0,
    "step_seconds": 2.0,
    "images_per_second": 4.0,
    "wait_share": 0.25,
}


def scrape(port: int) -> dict[tuple[str, str, str], float]:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("run", ""), sample.labels.get("name", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_newest_values_are_scraped() -> None:
    exporter = PrometheusExporter("first", host=LOOPBACK, port=0)
    try:
        assert scrape(exporter.port) == {}
        exporter.begin([{"step": 5, "loss/perceptual": 9.0}])
        exporter.show([ROW])
        exporter.show([{"step": 10, "fixed/perceptual": 1.5}])
        found = scrape(exporter.port)
    finally:
        exporter.close()
    assert found == {
        ("kintsugi_train_step", "first", ""): 10,
        ("kintsugi_train_step_seconds", "first", ""): 2,
        ("kintsugi_train_data_wait_share", "first", ""): 0.25,
        ("kintsugi_train_images_per_second", "first", ""): 4,
        ("kintsugi_train_loss", "first", "perceptual"): 2.5,
        ("kintsugi_train_loss", "first", "discriminator"): 1.25,
        ("kintsugi_train_held_out_loss", "first", "perceptual"): 3.5,
        ("kintsugi_train_fixed_loss", "first", "perceptual"): 1.5,
        ("kintsugi_train_grad_norm", "first", "generator"): 12,
    }
    with pytest.raises(OSError, match="refused"):
        scrape(exporter.port)


def test_a_taken_port_and_a_foreign_address_are_refused() -> None:
    exporter = PrometheusExporter("first", host=LOOPBACK, port=0)
    try:
        with pytest.raises(ConfigError, match=r"--metrics-port \d+ at .*in use: choose another"):
            PrometheusExporter("second", host=LOOPBACK, port=exporter.port)
    finally:
        exporter.close()
    with pytest.raises(ConfigError, match=r"at 192\.0\.2\.1: "):
        PrometheusExporter("first", host="192.0.2.1", port=0)


def events(folder: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of every scalar as TensorBoard would show them, in order."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: list[tuple[str, int, float]] = []
    for path in sorted(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            # A record: length, checksum of it, the event, checksum of that.
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            if event.session_log.status == SessionLog.START and event.step:
                found = [each for each in found if each[1] < event.step]
            found += [(each.tag, event.step, each.simple_value) for each in event.summary.value]
    return found


def row(step: int, loss: float) -> Metrics:
    return {"step": step, "loss/perceptual": loss, "step_seconds": 2.0}


def test_event_files_hold_the_whole_history_once(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "tensorboard")
    first = TensorBoardWriter(storage)
    first.begin([])
    first.show([row(1, 4.0), row(2, 3.0)])
    first.close()
    # The next submission resumes at step 1.
    again = TensorBoardWriter(storage)
    again.begin([row(1, 4.0)])
    again.show([row(2, 3.5), {"step": 2, "fixed/perceptual": 1.5}])
    again.close()
    assert events(tmp_path / "tensorboard") == [
        ("loss/perceptual", 1, 4.0),
        ("speed/step_seconds", 1, 2.0),
        ("loss/perceptual", 2, 3.5),
        ("speed/step_seconds", 2, 2.0),
        ("fixed/perceptual", 2, 1.5),
    ]


def test_what_is_trained_again_replaces_what_was_shown(tmp_path: Path) -> None:
    writer = TensorBoardWriter(Storage(tmp_path))
    writer.begin([])
    writer.show([row(1, 4.0), row(2, 3.0), row(3, 2.0)])
    writer.show([row(2, 3.5)])
    writer.close()
    losses = [(step, value) for tag, step, value in events(tmp_path) if tag.startswith("loss")]
    assert losses == [(1, 4.0), (2, 3.5)]


@pytest.mark.slow
def test_event_files_reach_an_object_store(tmp_path: Path, s3_uri: str) -> None:
    storage = Storage(f"{s3_uri}/run/tensorboard")
    writer = TensorBoardWriter(storage)
    writer.begin([row(1, 4.0)])
    assert storage.list(), "published at the beginning"
    writer.show([row(2, 3.0)])
    writer.close()
    storage.fetch_folder("", tmp_path / "fetched")
    assert [event[:2] for event in events(tmp_path / "fetched")][::2] == [
        ("loss/perceptual", 1),
        ("loss/perceptual", 2),
    ]
