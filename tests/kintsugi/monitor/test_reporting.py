"""While a run trains it is shown in lines, over HTTP and to TensorBoard; afterwards summed up."""

import io
import re
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from kintsugi.errors import ConfigError
from kintsugi.monitor.exporters import PrometheusExporter
from kintsugi.monitor.reporting import DisplayOptions, reporting, summary
from kintsugi.runs.run import Trained
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos


def free_port() -> int:
    exporter = PrometheusExporter("x", host="127.0.0.1", port=0)
    exporter.close()
    return exporter.port


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_is_shown_in_lines_over_http_and_to_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_photos(tmp_path)
    config, port = debug_config(tmp_path, sample_every=3), free_port()
    with reporting(config, DisplayOptions(tensorboard=True, metrics_port=port)):
        run = train_locally(config)
        step = 'kintsugi_train_step{run="debug-stage1"} 3.0'
        until(lambda: step in scrape(port))
        scraped = scrape(port)
    printed = capsys.readouterr().out
    assert 'kintsugi_train_loss{name="perceptual",run="debug-stage1"}' in scraped
    assert f"metrics at http://127.0.0.1:{port}/metrics" in printed
    assert f"tensorboard --logdir {run.storage.uri}/tensorboard" in printed
    line = (
        r"step \d/3  perceptual +[\d.]+  adversarial +[\d.]+  discriminator +[\d.]+  grad norm"
        r" +[\d.e-]+ +[\d.e-]+  lr 1\.0e-03 +\d+ MiB +[\d.]+ images/s  data wait +\d+ %  \d+ s left"
    )
    assert len(re.findall(line, printed)) == 3
    assert len(re.findall(r"step \d/3  fixed photographs:  perceptual", printed)) == 2
    assert len(list((tmp_path / "runs" / "debug-stage1" / "tensorboard").iterdir())) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_on_a_terminal_there_is_a_bar_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_photos(tmp_path)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    with reporting(debug_config(tmp_path, max_steps=2), DisplayOptions()):
        train_locally(debug_config(tmp_path, max_steps=2))
        print("said meanwhile")
    shown = terminal.getvalue()
    assert re.search(r"2/2.*perceptual.*images/s", shown)
    assert "said meanwhile\n" in shown
    assert not re.search(r"^step 2/2  perceptual", shown, re.MULTILINE), "a line beside the bar"


def test_a_taken_port_ends_the_job_before_it_begins(tmp_path: Path) -> None:
    exporter = PrometheusExporter("x", host="127.0.0.1", port=0)
    try:
        with (
            pytest.raises(ConfigError, match="choose another port"),
            reporting(debug_config(tmp_path), DisplayOptions(metrics_port=exporter.port)),
        ):
            pytest.fail("it began")
    finally:
        exporter.close()


def test_the_summary_has_the_steps_and_what_became_of_the_losses() -> None:
    rows = [
        {"step": 0, "fixed/perceptual": 4.0},
        {"step": 5, "loss/perceptual": 3.0, "held_out/perceptual": 3.5},
        {"step": 9, "loss/perceptual": 2.0, "held_out/perceptual": 2.5},
        {"step": 9, "fixed/perceptual": 1.0},
    ]
    assert summary(Trained("s3://runs/a", 3, 9, True, rows), 100.0) == [
        "steps 3 to 9 in 2 min: s3://runs/a",
        "perceptual loss on the fixed photographs: 4.0000 at step 0, 1.0000 at step 9",
        "perceptual loss on held-out photographs: 3.5000 at step 5, 2.5000 at step 9",
        "stopped at step 9: submit the job again to go on",
    ]
    finished = Trained("s3://runs/a", 9, 9, False, rows)
    assert summary(finished, 1.0)[0] == "already finished at step 9: s3://runs/a"
