"""What a run leaves for people: log lines, metrics/part-*.jsonl, pictures; knows no Ray."""

import io
import json
import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kintsugi.storage import Storage

Metrics = dict[str, float | int]

# Metrics reach storage at least this often while a run goes on.
FLUSH_SECONDS = 5.0


class MetricsWriter:
    """Rows of metrics in JSON lines, one part per stretch between two checkpoints."""

    def __init__(self, storage: Storage, step: int) -> None:
        """Args: ``step``: where the run goes on; rows of later steps are dropped."""
        self.storage = storage
        self._rows: list[Metrics] = []
        self._flushed = time.monotonic()
        for name in storage.list():
            rows = read_rows(storage, name)
            kept = [row for row in rows if row["step"] <= step]
            if not kept:
                storage.delete(name)
            elif len(kept) < len(rows):
                storage.write(name, _to_lines(kept))

    def add(self, row: Metrics) -> None:
        self._rows.append(row)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows of this part; the part is replaced whole."""
        if self._rows:
            self.storage.write(f"part-{self._rows[0]['step']:08d}.jsonl", _to_lines(self._rows))
        self._flushed = time.monotonic()

    def close_part(self) -> None:
        """Flush, and begin the next part: what is written so far stands."""
        self.flush()
        self._rows = []


def read_rows(storage: Storage, name: str) -> list[dict[str, Any]]:
    """Rows of one part."""
    return [json.loads(line) for line in storage.read(name).decode().splitlines()]


def read_metrics(storage: Storage) -> list[dict[str, Any]]:
    """Every row of a run's `metrics` folder, in the order of steps."""
    return [row for name in storage.list() for row in read_rows(storage, name)]


def format_line(row: Metrics, max_steps: int) -> str:
    """One line for a person: step, losses, speed, share of time spent waiting for data, rest."""
    parts = [f"step {row['step']}/{max_steps}"]
    fixed = [name for name in row if name.startswith("fixed/")]
    if fixed:
        parts.append("on the fixed photographs:")
    for name, value in row.items():
        kind, _, loss = name.partition("/")
        if kind in ("loss", "fixed"):
            parts.append(f"{loss} {value:.4f}")
    if not fixed:
        seconds = (max_steps - row["step"]) * row["step_seconds"]
        parts.append(f"{row['images_per_second']:.1f} images/s")
        parts.append(f"data wait {100 * row['wait_share']:.0f} %")
        parts.append(f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left")
    return "  ".join(parts)


def picture(columns: list[Tensor]) -> bytes:
    """A PNG with one row per photograph and the given B 3 H W images (0-1) side by side."""
    wide = torch.cat([column.detach().float().cpu() for column in columns], dim=3)
    tall = torch.cat(list(wide), dim=1)
    pixels = (tall.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()


def _to_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
