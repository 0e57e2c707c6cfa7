"""Rows of metrics survive a restart without doubles, and a sample picture can be read."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.runs import metrics_log
from kintsugi.runs.metrics_log import (
    GAP_PX,
    TITLE_PX,
    Metrics,
    MetricsWriter,
    picture,
    read_metrics,
)
from kintsugi.storage.storage import Storage


def row(step: int) -> Metrics:
    return {"step": step, "loss/perceptual": 1.0 / step}


def test_parts_are_read_back_in_the_order_of_steps(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    writer = MetricsWriter(storage, 0)
    for step in range(1, 12):
        writer.add(row(step))
        if step % 4 == 0:
            writer.close_part()
    writer.flush()
    writer.wait()
    assert read_metrics(storage) == [row(step) for step in range(1, 12)]
    assert storage.list() == [f"part-{step:08d}.jsonl" for step in (1, 5, 9)]


def test_resuming_drops_later_rows_and_keeps_earlier_ones(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    writer = MetricsWriter(storage, 0)
    for step in range(1, 9):
        writer.add(row(step))
        if step % 3 == 0:
            writer.close_part()
    writer.flush()
    writer.wait()
    again = MetricsWriter(storage, 5)
    assert read_metrics(storage) == [row(step) for step in range(1, 6)]
    again.add(row(6))
    again.flush()
    again.wait()
    assert read_metrics(storage) == [row(step) for step in range(1, 7)]


def test_a_start_reads_one_part_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(tmp_path)
    writer = MetricsWriter(storage, 0)
    for step in range(1, 41):
        writer.add(row(step))
        if step % 2 == 0:
            writer.close_part()
    writer.wait()
    read, names = metrics_log.read_rows, list[str]()
    monkeypatch.setattr(
        metrics_log, "read_rows", lambda place, name: names.append(name) or read(place, name)
    )
    MetricsWriter(storage, 31)
    assert names == ["part-00000031.jsonl"]
    assert read_metrics(storage) == [row(step) for step in range(1, 32)]


def test_a_row_of_the_step_that_a_part_begins_with_joins_it(tmp_path: Path) -> None:
    """As the losses of a checkpoint that was measured late: they replace nothing."""
    storage = Storage(tmp_path)
    writer = MetricsWriter(storage, 0)
    writer.add(row(5))
    writer.close_part()
    writer.wait()
    again = MetricsWriter(storage, 5)
    again.add({"step": 5, "held_out/perceptual": 1.0})
    again.close_part()
    again.wait()
    assert read_metrics(storage) == [row(5), {"step": 5, "held_out/perceptual": 1.0}]


def test_rows_reach_storage_while_a_part_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_log, "FLUSH_SECONDS", 0.0)
    writer = MetricsWriter(Storage(tmp_path), 0)
    writer.add(row(1))
    writer.wait()
    assert read_metrics(Storage(tmp_path)) == [row(1)]


def test_a_picture_has_a_row_per_photograph_and_a_titled_column_per_image() -> None:
    dark, light = torch.zeros(2, 3, 30, 40), torch.ones(2, 3, 30, 40)
    light[1, 0] = 0.25
    pixels = np.asarray(Image.open(io.BytesIO(picture([dark, light], ["input", "truth"]))))
    top = TITLE_PX + GAP_PX
    assert pixels.shape == (top + 30 + GAP_PX + 30, 40 + GAP_PX + 40, 3)
    first, second = pixels[top : top + 30], pixels[top + 30 + GAP_PX :]
    assert (first[:, :40] == 0).all()
    assert (first[:, 40 + GAP_PX :] == 255).all()
    assert (second[:, 40 + GAP_PX :] == (64, 255, 255)).all()
    for left in (0, 40 + GAP_PX):
        assert (pixels[:TITLE_PX, left : left + 40] < 128).any(), "no title"


def test_a_column_without_title_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        picture([torch.zeros(1, 3, 8, 8)] * 2, ["one"])
