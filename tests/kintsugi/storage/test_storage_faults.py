"""kintsugi.storage.storage behind a store that fails: F7 to F11 and F14 of the fault plan.

Each test checks that its fault was injected. Those that wait for seconds carry the marker
`faults`.
"""

import random
import threading
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import local_batches
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.shard_reader import open_reader
from kintsugi.servers.object_store import Endpoint
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage
from tests.fault_proxy import Cut, FaultProxy, Refuse, Slow, SlowDown, Stall, fault_proxy
from tests.kintsugi.training_runs import pack_photos

OUTAGE_SECONDS = 20.0
MEGABYTE = bytes(range(256)) * 4096


@pytest.fixture
def proxy(object_store: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy that passes everything on; clients opened from now on go through it."""
    with fault_proxy(object_store.url) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.mark.slow
def test_an_answer_that_is_cut_short_is_read_again(s3_uri: str, proxy: FaultProxy) -> None:
    storage = Storage(s3_uri)
    storage.write("a", MEGABYTE)
    proxy.first(1, Cut(after_bytes=300_000))
    assert storage.read("a") == MEGABYTE
    assert (proxy.injected, proxy.requests["GET"]) == (1, 2)


@pytest.mark.slow
def test_connections_lost_while_writing_are_invisible(s3_uri: str, proxy: FaultProxy) -> None:
    storage = Storage(s3_uri, retry=Retry(first_seconds=0.05))
    proxy.first(3, Refuse(), "PUT")
    storage.write("a", MEGABYTE)
    assert storage.read("a") == MEGABYTE
    assert (proxy.injected, proxy.requests["PUT"]) == (3, 4)


@pytest.mark.slow
def test_a_storm_of_503_costs_at_most_three_times_the_requests(
    s3_uri: str, proxy: FaultProxy
) -> None:
    storage = Storage(s3_uri, retry=Retry(first_seconds=0.01))

    def work() -> int:
        before = proxy.requests.total()
        for index in range(25):
            storage.write(str(index), b"x" * index)
        assert [len(storage.read(str(index))) for index in range(25)] == list(range(25))
        return proxy.requests.total() - before

    usual, chance = work(), random.Random(0)
    proxy.plan = lambda method, path: SlowDown() if chance.random() < 0.3 else None
    assert usual < work() <= 3 * usual
    # About 15 of the 50 requests that writing and reading 25 objects take.
    assert proxy.injected > 8


@pytest.mark.faults
@pytest.mark.parametrize("after_bytes", [None, 0, 300_000])
def test_a_read_that_stalls_is_asked_for_again(
    s3_uri: str, proxy: FaultProxy, after_bytes: int | None
) -> None:
    storage = Storage(s3_uri)
    storage.write("a", MEGABYTE)
    storage.read("a")
    proxy.first(1, Stall(after_bytes))
    assert storage.read("a") == MEGABYTE
    # It did not wait for the stalled connection, which is held still.
    assert (proxy.injected, proxy.held) == (1, 1)


@pytest.mark.faults
@pytest.mark.parametrize("megabytes", [0, 40])
def test_a_write_that_stalls_is_sent_again(s3_uri: str, proxy: FaultProxy, megabytes: int) -> None:
    # What the system's buffers take of 40 MB is less than all of it.
    storage, data = Storage(s3_uri), MEGABYTE * megabytes + b"x"
    storage.write("warm", b"")
    proxy.first(1, Stall(after_bytes=None), "PUT")
    storage.write("a", data)
    assert (proxy.injected, proxy.held) == (1, 1)
    assert storage.read("a") == data


@pytest.mark.faults
def test_reading_waits_for_a_store_that_is_gone_and_loses_no_sample(
    s3_uri: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    local = Storage(pack_photos(tmp_path))
    for name in local.list():
        Storage(s3_uri).write(name, local.read(name))
    config = DataSection(shards="unused", crop_px=128, resize_px=128)

    def batches(uri: str) -> Iterator[torch.Tensor]:
        reader = open_reader(uri, 128)
        order = SampleOrder(reader.rows_per_part, 1, shuffle_parts=1, workers=1, batch_size=2)
        return (batch.image for batch in local_batches(reader, order, config, Position()))

    expected = list(islice(batches(local.uri), 12))
    got, times = [], []
    for step, image in enumerate(islice(batches(s3_uri), 12)):
        got.append(image)
        times.append(time.monotonic())
        if step == 2:
            proxy.outage(OUTAGE_SECONDS)
    assert proxy.injected > 0
    assert all(torch.equal(*pair) for pair in zip(expected, got, strict=True))
    longest = max(after - before for before, after in pairwise(times))
    assert longest > OUTAGE_SECONDS - 1


@pytest.mark.faults
def test_an_upload_waits_for_a_store_that_is_gone(
    s3_uri: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    for name in ("generator", "discriminator", "manifest.json"):
        (tmp_path / name).write_bytes(name.encode() + MEGABYTE)
    storage, direct = Storage(s3_uri), Storage(s3_uri)
    storage.publish_folder(tmp_path, "first", last="manifest.json")
    gone = threading.Event()

    def plan(method: str, path: str) -> Refuse | None:
        if method == "PUT" and path.endswith("generator") and not gone.is_set():
            gone.set()
            proxy.outage(OUTAGE_SECONDS)
            return Refuse()
        return None

    proxy.plan = plan
    started = time.monotonic()
    storage.publish_folder(tmp_path, "second", last="manifest.json")
    assert time.monotonic() - started > OUTAGE_SECONDS - 1
    assert proxy.injected > 1
    for name in ("first", "second"):
        assert direct.list(name) == sorted(f"{name}/{path.name}" for path in tmp_path.iterdir())
        assert direct.read(f"{name}/generator") == b"generator" + MEGABYTE


@pytest.mark.faults
def test_what_ray_writes_waits_for_a_store_that_is_gone(s3_uri: str, proxy: FaultProxy) -> None:
    filesystem, path = Storage(s3_uri).arrow_filesystem()
    with filesystem.open_output_stream(f"{path}/before.json") as file:
        file.write(b"{}")
    proxy.outage(OUTAGE_SECONDS)
    with filesystem.open_output_stream(f"{path}/snapshot.json") as file:
        file.write(b"{}")
    assert proxy.injected > 0
    assert Storage(s3_uri).read("snapshot.json") == b"{}"


@pytest.mark.faults
def test_a_slow_store_is_slow_and_no_error(s3_uri: str, proxy: FaultProxy) -> None:
    storage = Storage(s3_uri)
    storage.write("a", MEGABYTE)
    proxy.plan = lambda method, path: Slow(delay_seconds=0.5, bytes_per_second=len(MEGABYTE) / 12)
    started = time.monotonic()
    assert storage.read("a") == MEGABYTE
    assert time.monotonic() - started > 12, "longer than the limit for a stall"
    assert proxy.injected > 0
    assert proxy.requests["GET"] == 1, "bytes came all the time"
