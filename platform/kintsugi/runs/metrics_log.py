"""What a run leaves for people: metrics/part-*.jsonl and sample pictures; knows no Ray."""

import io
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from kintsugi.storage.storage import Storage

Metrics = dict[str, float | int]

# Metrics reach storage at least this often while a run goes on.
FLUSH_SECONDS = 5.0
# Column titles of the sample pictures.
COLUMN_TITLES = ("input", "fill", "truth")
TITLE_PX = 20
GAP_PX = 4
# A part's name has the step of its first row.
_PART = re.compile(r"part-(\d{8,})\.jsonl")


class MetricsWriter:
    """Rows of metrics in JSON lines, one part per stretch between two checkpoints."""

    def __init__(
        self, storage: Storage, step: int, *, is_lost: Callable[[], bool] = lambda: False
    ) -> None:
        """
        Args:
            storage: The run's folder of metrics.
            step: Where the run goes on; rows of later steps are dropped.
            is_lost: Whether somebody else writes there now; then this writes no more.
        """
        self.storage = storage
        self._is_lost = is_lost
        # Storage may be slow: nobody waits for it but the next writing.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._writing: Future[None] | None = None
        self._rows: list[Metrics] = []
        self._flushed = time.monotonic()
        self._drop_after(step)

    def _drop_after(self, step: int) -> None:
        """Delete rows of later steps: of all parts but one their names say enough."""
        last = ""
        for name in self.storage.list():
            match = _PART.fullmatch(name)
            if match and int(match[1]) > step:
                self.storage.delete(name)
            elif match:
                last = name
        if not last:
            return
        # A part ends before the next one begins: only this one may go beyond the step.
        rows = read_rows(self.storage, last)
        kept = [row for row in rows if row["step"] <= step]
        if len(kept) < len(rows):
            self.storage.write(last, _to_lines(kept))
        if last == _part_name(step):
            # More rows of this step belong to the same part.
            self._rows = list(kept)

    def add(self, row: Metrics) -> None:
        """Keep a row, and write what is kept if that was long ago."""
        self._rows.append(row)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows of this part, in a thread of its own; the part is replaced whole.

        Raises: StorageError: the writing before this one failed.
        """
        self._flushed = time.monotonic()
        if not self._rows:
            return
        self.wait()
        name, lines = _part_name(self._rows[0]["step"]), _to_lines(self._rows)
        self._writing = self._thread.submit(self._write, name, lines)

    def wait(self) -> None:
        """Return when all that was flushed is written. Raises: StorageError: it could not be."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def has_written(self, patience_s: float) -> bool:
        """Whether all that was flushed is written, after so many seconds at most."""
        return self._writing is None or not futures.wait([self._writing], patience_s).not_done

    def _write(self, name: str, lines: bytes) -> None:
        if not self._is_lost():
            self.storage.write(name, lines)

    def close_part(self) -> None:
        """Flush, and begin the next part: what is written so far stands."""
        self.flush()
        self._rows = []


def _part_name(step: float) -> str:
    """Args: ``step``: of its first row."""
    return f"part-{step:08.0f}.jsonl"


def read_rows(storage: Storage, name: str) -> list[dict[str, Any]]:
    """Rows of one part."""
    return [json.loads(line) for line in storage.read(name).decode().splitlines()]


def read_metrics(storage: Storage) -> list[dict[str, Any]]:
    """Every row of a run's `metrics` folder, in the order of steps."""
    return [row for name in storage.list() for row in read_rows(storage, name)]


def picture(columns: list[Tensor], titles: Sequence[str] = COLUMN_TITLES) -> bytes:
    """A PNG with one row per photograph and the given images side by side under their titles.

    Args:
        columns: B 3 H W each, 0-1.
        titles: One for each column.
    """
    images = np.stack([_pixels(column) for column in columns])
    num_columns, rows, height, width, _ = images.shape
    top = TITLE_PX + GAP_PX
    sheet = Image.new(
        "RGB",
        (num_columns * (width + GAP_PX) - GAP_PX, top + rows * (height + GAP_PX) - GAP_PX),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    for column, title in zip(range(num_columns), titles, strict=True):
        left = column * (width + GAP_PX)
        draw.text((left + width / 2, TITLE_PX / 2), title, fill="black", anchor="mm")
        for row in range(rows):
            sheet.paste(Image.fromarray(images[column, row]), (left, top + row * (height + GAP_PX)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def _pixels(images: Tensor) -> NDArray[np.uint8]:
    """B 3 H W, 0-1 -> uint8 B H W 3."""
    whole = (images.detach().float().cpu().clamp(0, 1) * 255).round().byte()
    return np.ascontiguousarray(whole.permute(0, 2, 3, 1).numpy())


def _to_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
