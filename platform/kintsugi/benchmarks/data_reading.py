"""Measuring how fast batches come out of shards, and how long steps would wait for them.

A step is stood in for by sleeping: as with a GPU, the processor is free meanwhile.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray

from kintsugi.config.sections import DataSection, WorkersSection
from kintsugi.data.batches import BatchRequest, PackedBatch, corrupt_rows, local_batches
from kintsugi.data.feeding.joining import TaskCost
from kintsugi.data.mask_files.mask_folder import pin_masks, with_pinned
from kintsugi.data.ray_pipeline import stream_batches
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.shard_reader import ShardReader
from kintsugi.servers.object_store import object_store
from kintsugi.storage.storage import Storage
from kintsugi.train.cluster.resources import check_resources, worker_resources
from kintsugi.train.run_photos import open_run_reader

_BUCKET = "benchmark"


@dataclass(frozen=True)
class Waits:
    """What one worker saw.

    Attributes:
        first_batch_seconds: Until the first batch was there, the start of the pipeline included.
        seconds: The seconds of all steps after it.
        wait_seconds: For the batch of each of those steps.
        own_seconds: Processor seconds of this process for them, its threads included.
        task_seconds: Processor seconds of a reading task for a photograph; without Ray this
            process is the task.
    """

    first_batch_seconds: float
    seconds: float
    wait_seconds: tuple[float, ...]
    own_seconds: float = 0.0
    task_seconds: float = 0.0


@dataclass(frozen=True)
class ReadingRow:
    """One line of the table: all workers together.

    Attributes:
        reading: "ray" (as in training) or "one process" (without Ray).
        step_seconds: How long the stand-in for a step takes.
        images_per_second: From storage to batch.
        megabytes_per_second: Megabytes of packed photographs, read and decoded each second.
        wait_share: The share of the steps' time that is spent waiting for a batch; mean over
            workers.
        longest_wait_seconds: For one batch.
        first_batch_seconds: The slowest worker's.
        training_ms: Processor milliseconds of the process that trains, for a photograph.
        task_ms: The same of a reading task.
    """

    reading: str
    workers: int
    step_seconds: float
    images_per_second: float
    megabytes_per_second: float
    wait_share: float
    longest_wait_seconds: float
    first_batch_seconds: float
    training_ms: float
    task_ms: float


@dataclass(frozen=True)
class Reading:
    """What is read, by whom, and how much of it.

    Attributes:
        data: The shards, and how samples are drawn from them.
        workers: How many read at one time, and what each has.
        seed: Decides the order.
        batch_size: Photographs per worker and step.
        steps: Per worker and line, after the first batch.
    """

    data: DataSection
    workers: WorkersSection
    seed: int
    batch_size: int
    steps: int

    def order(self, reader: ShardReader, workers: int) -> SampleOrder:
        """The order in which this number of workers sees the photographs."""
        return SampleOrder(
            reader.rows_per_part,
            seed=self.seed,
            shuffle_parts=self.data.shuffle_parts,
            workers=workers,
            batch_size=self.batch_size,
        )


def run_benchmark(reading: Reading, step_seconds: float) -> dict[str, Any]:
    """Measure the connected Ray cluster, and this process without Ray; no network is built.

    Args:
        reading: What is read.
        step_seconds: How long a step takes, for the line that says how long it would wait.

    Returns: The setting and a list ``rows`` of `ReadingRow` as dictionaries.

    Raises:
        ConfigError: The cluster is too small, or there are fewer photographs than a step takes.
        StorageError: There are no shards.
    """
    # Reading needs no GPU, also where training does.
    reading = replace(reading, workers=replace(reading.workers, use_gpu=False))
    data = reading.data
    check_resources(
        reading.workers, data, [node["Resources"] for node in ray.nodes() if node["Alive"]]
    )
    reader = open_run_reader(data)
    photographs = int(reader.rows_per_part.sum())
    mean_bytes = sum(part.bytes for part in reader.parts) / photographs
    measured = [("one process", 0.0, _measure_here(reading, reader))]
    for seconds in dict.fromkeys((0.0, step_seconds)):
        measured.append(("ray", seconds, _measure_on_ray(reading, reader, seconds)))
    return {
        "shards": Storage(data.shards).uri,
        "photographs": photographs,
        "mean_bytes": round(mean_bytes),
        "crop_px": data.crop_px,
        "resize_px": data.resize_px,
        "batch_size": reading.batch_size,
        "tasks": data.tasks,
        "steps": reading.steps,
        "seed": reading.seed,
        "cpus": os.cpu_count(),
        "rows": [
            asdict(_row(how, seconds, waits, reading.batch_size, mean_bytes))
            for how, seconds, waits in measured
        ],
    }


def format_report(figures: dict[str, Any]) -> str:
    """What `run_benchmark` measured, as Markdown."""
    head = (
        "{shards}: {photographs} photographs of {mean_bytes} bytes on average; crop {crop_px} px of"
        " {resize_px}, batch {batch_size} per worker, {tasks} reading tasks per worker, {steps}"
        " steps, seed {seed}, {cpus} processors here"
    )
    lines = [
        "| reading | workers | step s | images/s | MB/s | waiting | longest wait s | first batch |"
        " training process ms/photo | data task ms/photo |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in figures["rows"]:
        lines.append(
            "| {reading} | {workers} | {step_seconds:g} | {images_per_second:.1f} |"
            " {megabytes_per_second:.2f} | {wait_share:.1%} | {longest_wait_seconds:.2f} |"
            " {first_batch_seconds:.2f} s | {training_ms:.2f} | {task_ms:.2f} |".format(**row)
        )
    return "\n".join([head.format(**figures), "", *lines])


@contextmanager
def keeping_masks(data: DataSection, storage: str) -> Iterator[DataSection]:
    """The section with packed masks where it names places: in ``storage``, for as long as this.

    Raises: ConfigError, StorageError: as `kintsugi.data.mask_files.mask_folder.pin_masks`.
    """
    name = f"benchmark-data-{secrets.token_hex(4)}"
    home = Storage(storage).join(name)
    try:
        pin_masks(data, home)
        yield with_pinned(data, home)
    finally:
        Storage(storage).delete_folder(name)


@contextmanager
def in_object_store(shards: str) -> Iterator[str]:
    """Copy shards into an object store that runs on this machine until the block ends.

    Ray must be started inside the block: its processes inherit how the store is reached.

    Returns: The URI of the copy.
    """
    source = Storage(shards)
    with (
        tempfile.TemporaryDirectory(prefix="kintsugi-") as folder,
        object_store(Path(folder), [_BUCKET]) as endpoint,
    ):
        earlier = dict(os.environ)
        os.environ.update(endpoint.environment())
        try:
            target = Storage(f"s3://{_BUCKET}/shards")
            for name in source.list():
                target.write(name, source.read(name))
            yield target.uri
        finally:
            for name in endpoint.environment():
                os.environ.pop(name)
            os.environ.update(earlier)


def consume(batches: Iterator[PackedBatch], steps: int, step_seconds: float) -> Waits:
    """Take ``steps`` batches after the first, each when its step would want it."""
    started = time.perf_counter()
    next(batches)
    first, used = time.perf_counter(), time.process_time()
    waits = []
    for _ in range(steps):
        time.sleep(step_seconds)
        wanted = time.perf_counter()
        next(batches)
        waits.append(time.perf_counter() - wanted)
    return Waits(
        first_batch_seconds=first - started,
        seconds=time.perf_counter() - first,
        wait_seconds=tuple(waits),
        own_seconds=time.process_time() - used,
    )


def _measure_here(reading: Reading, reader: ShardReader) -> list[Waits]:
    batches = local_batches(reader, reading.order(reader, 1), reading.data, Position())
    waits = consume(batches, reading.steps, 0.0)
    # The same process is both.
    photos = reading.steps * reading.batch_size
    return [replace(waits, own_seconds=0.0, task_seconds=waits.own_seconds / photos)]


class _Worker:
    """An actor: what a train worker does for its data."""

    def __init__(self, reading: Reading, reader: ShardReader, rank: int) -> None:
        self._reading = reading
        self._reader = reader
        self._rank = rank

    def node(self) -> str:
        """The id of the node that it is on."""
        return str(ray.get_runtime_context().get_node_id())

    def measure(self, step_seconds: float, on_node: int) -> Waits:
        """Args: ``on_node``: the workers of its node, which share the object store there."""
        data, steps = self._reading.data, self._reading.steps
        order = self._reading.order(self._reader, self._reading.workers.count)
        corrupt = corrupt_rows(self._reader, data)
        request = BatchRequest(self._reader, order, Position(), self._rank, steps + 1, corrupt)
        cost = TaskCost()
        batches = stream_batches(request, data, cost=cost, on_node=on_node)
        waits = consume(batches, steps, step_seconds)
        return replace(waits, task_seconds=cost.seconds / cost.photos)


def _measure_on_ray(reading: Reading, reader: ShardReader, step_seconds: float) -> list[Waits]:
    # As a train worker has them: those of its reading tasks are among its CPUs.
    needs = worker_resources(reading.workers, reading.data)
    actor = ray.remote(_Worker).options(num_cpus=needs.pop("CPU"), resources=needs)
    workers = [actor.remote(reading, reader, rank) for rank in range(reading.workers.count)]
    nodes = ray.get([worker.node.remote() for worker in workers])
    waits: list[Waits] = ray.get(
        [
            worker.measure.remote(step_seconds, nodes.count(node))
            for worker, node in zip(workers, nodes, strict=True)
        ]
    )
    return waits


def _row(
    how: str, step_seconds: float, waits: Sequence[Waits], batch_size: int, mean_bytes: float
) -> ReadingRow:
    rate = sum(len(each.wait_seconds) * batch_size / each.seconds for each in waits)
    shares = [sum(each.wait_seconds) / each.seconds for each in waits]
    return ReadingRow(
        reading=how,
        workers=len(waits),
        step_seconds=step_seconds,
        images_per_second=rate,
        megabytes_per_second=rate * mean_bytes / 1e6,
        wait_share=sum(shares) / len(shares),
        longest_wait_seconds=max(max(each.wait_seconds) for each in waits),
        first_batch_seconds=max(each.first_batch_seconds for each in waits),
        training_ms=1000
        * sum(each.own_seconds for each in waits)
        / sum(len(each.wait_seconds) * batch_size for each in waits),
        task_ms=1000 * sum(each.task_seconds for each in waits) / len(waits),
    )
