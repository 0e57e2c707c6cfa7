"""jobs/benchmark_data.py: measures what it says, from a folder and from an S3 server."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kintsugi.benchmarks.data_reading import consume, format_report, in_object_store
from kintsugi.data.batches import PackedBatch
from kintsugi.jobs.benchmark_data import main
from kintsugi.storage.storage import Storage


def test_waiting_and_computing_are_kept_apart() -> None:
    def batches() -> Iterator[PackedBatch]:
        while True:
            time.sleep(0.03)
            yield PackedBatch(*(torch.zeros(1) for _ in range(4)))

    waits = consume(batches(), 5, 0.06)
    assert waits.first_batch_seconds >= 0.03
    assert len(waits.wait_seconds) == 5
    assert all(each >= 0.03 for each in waits.wait_seconds)
    assert waits.seconds >= 5 * 0.09
    assert sum(waits.wait_seconds) <= waits.seconds - 5 * 0.06


@pytest.mark.parametrize("flags", [["--steps", "0"], ["--step-seconds", "-1"], ["--colour"]])
def test_wrong_flags_are_usage(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2


@pytest.mark.slow
def test_a_copy_in_an_object_store_is_there_for_the_block_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Storage(tmp_path).write("part-00000.parquet", b"whole")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    before = dict(os.environ)
    with in_object_store(str(tmp_path)) as uri:
        assert os.environ["AWS_ACCESS_KEY_ID"] != "mine"
        assert Storage(uri).read("part-00000.parquet") == b"whole"
    assert dict(os.environ) == before


@pytest.mark.ray
def test_from_an_s3_server_with_two_workers(
    local_ray: object,
    s3_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("kintsugi.jobs._bootstrap.start_ray", lambda: None)
    figures = tmp_path / "figures.json"
    # A process for each of its tasks: one a worker.
    setting = ["--shards", f"{s3_uri}/shards", "--workers", "2", "--batch-size", "2"]
    setting += ["--tasks", "1"]
    length = ["--steps", "3", "--step-seconds", "0.1", "--json", str(figures)]
    assert main([*setting, *length]) == 0
    measured = json.loads(figures.read_text())
    assert (measured["shards"], measured["photographs"]) == (f"{s3_uri}/shards", 8)
    assert measured["tasks"] == 1
    rows = [(row["reading"], row["workers"], row["step_seconds"]) for row in measured["rows"]]
    assert rows == [("one process", 1, 0.0), ("ray", 2, 0.0), ("ray", 2, 0.1)]
    for row in measured["rows"]:
        assert row["images_per_second"] > 0
        assert 0 <= row["wait_share"] <= 1
    assert format_report(measured) in capsys.readouterr().out
