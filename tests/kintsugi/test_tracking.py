"""Rows of metrics survive a restart without doubles, and a line says what a person wants."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi import tracking
from kintsugi.storage import Storage
from kintsugi.tracking import Metrics, MetricsWriter, format_line, picture, read_metrics


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
    again = MetricsWriter(storage, 5)
    assert read_metrics(storage) == [row(step) for step in range(1, 6)]
    again.add(row(6))
    again.flush()
    assert read_metrics(storage) == [row(step) for step in range(1, 7)]


def test_rows_reach_storage_while_a_part_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FLUSH_SECONDS", 0.0)
    writer = MetricsWriter(Storage(tmp_path), 0)
    writer.add(row(1))
    assert read_metrics(Storage(tmp_path)) == [row(1)]


def test_a_line_has_step_losses_speed_waiting_and_the_rest() -> None:
    line = format_line(
        {
            "step": 10,
            "loss/perceptual": 2.5,
            "step_seconds": 2.0,
            "images_per_second": 4.0,
            "wait_share": 0.25,
        },
        130,
    )
    assert line == "step 10/130  perceptual 2.5000  4.0 images/s  data wait 25 %  4 min left"


def test_a_line_of_the_fixed_photographs_says_so() -> None:
    assert format_line({"step": 5, "fixed/perceptual": 1.5}, 9) == (
        "step 5/9  on the fixed photographs:  perceptual 1.5000"
    )


def test_a_picture_has_a_row_per_photograph_and_a_column_per_image() -> None:
    dark, light = torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    pixels = np.asarray(Image.open(io.BytesIO(picture([dark, light]))))
    assert pixels.shape == (8, 10, 3)
    assert (pixels[:, :5] == 0).all()
    assert (pixels[:, 5:] == 255).all()
