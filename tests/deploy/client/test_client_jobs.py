"""Client.jobs against the service itself, over a real socket."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from kintsugi.deploy.api import build_api
from kintsugi.deploy.client import Client, ClientError, Job
from kintsugi.deploy.client.__main__ import main
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.progress import Step
from tests.deploy.async_jobs.conftest import HeldEngine, wait_until
from tests.deploy.conftest import MASK, PHOTO, STYLE, encode


@dataclass
class Service:
    """A running service and its engine."""

    url: str
    engine: HeldEngine


@pytest.fixture
def service(
    inpainter: Inpainter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    monkeypatch.setattr("kintsugi.deploy.client.jobs._PAUSE_SECONDS", 0.02)
    engine = HeldEngine(inpainter)
    api = build_api(engine, AppArgs(release="unused", jobs=str(tmp_path / "jobs")))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(api, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", engine)
        server.should_exit = True
        thread.join()


@pytest.mark.slow
def test_a_job_from_sending_it_to_its_image(service: Service) -> None:
    client = Client(service.url)
    seen: list[Job] = []

    def on_progress(job: Job) -> None:
        seen.append(job)
        service.engine.go = job.progress > 0

    job = client.jobs.inpaint(encode(PHOTO), encode(MASK), seed=2, idempotency_key="k")
    again = client.jobs.inpaint(encode(PHOTO), encode(MASK), seed=2, idempotency_key="k")
    assert again.id == job.id
    answer = client.jobs.wait(job.id, on_progress=on_progress)
    same = client.inpaint(encode(PHOTO), encode(MASK), seed=2)
    assert (answer.data, answer.content_type) == (same.data, same.content_type)
    assert answer.model_version == same.model_version
    # Of four scales the first is done, then all.
    assert {each.progress for each in seen} >= {Step(0, 1, 1, 4).fraction, 1.0}
    assert [seen[0].has_ended, seen[-1].has_ended] == [False, True]


def test_a_transfer_and_one_that_fails(service: Service) -> None:
    client = Client(service.url)
    service.engine.go = True
    job = client.jobs.stylize(encode(PHOTO), encode(STYLE), strength=0.5)
    assert client.jobs.wait(job.id).content_type == "image/png"
    job = client.jobs.inpaint(encode(PHOTO), encode(MASK), scales=9)
    with pytest.raises(ClientError, match="scales") as caught:
        client.jobs.wait(job.id)
    assert (caught.value.status, caught.value.code) == (422, "options_do_not_fit")


def test_giving_up(service: Service) -> None:
    client = Client(service.url)
    job = client.jobs.inpaint(encode(PHOTO), encode(MASK))
    with pytest.raises(TimeoutError, match=job.id):
        client.jobs.wait(job.id, timeout_seconds=0.05)
    assert client.jobs.cancel(job.id).state == "cancelled"
    wait_until(lambda: service.engine.given_up == service.engine.begun)
    with pytest.raises(ClientError) as caught:
        client.jobs.wait(job.id)
    assert (caught.value.status, caught.value.code) == (410, "job_cancelled")


def test_as_a_command(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.engine.go = True
    for name, data in (("photo", encode(PHOTO)), ("mask", encode(MASK))):
        (tmp_path / name).write_bytes(data)
    files = [str(tmp_path / name) for name in ("photo", "mask", "made")]
    assert main(["inpaint", *files, "--url", service.url, "--job", "--seed", "3"]) == 0
    expected = Client(service.url).inpaint(encode(PHOTO), encode(MASK), seed=3)
    assert (tmp_path / "made").read_bytes() == expected.data
    assert "done, 100%" in capsys.readouterr().err


def test_a_batch_and_the_list_of_jobs(service: Service, tmp_path: Path) -> None:
    client = Client(service.url)
    service.engine.go = True
    names = ['be"ach.png', "strasse.png"]
    for name in names:
        (tmp_path / name).write_bytes(encode(PHOTO))
    paths: list[bytes | str | Path] = [tmp_path / name for name in names]
    batch = client.batches.inpaint([*paths, b"no picture"], encode(MASK), seed=2)
    seen: list[float] = []
    ended = client.batches.wait(batch.id, on_progress=lambda each: seen.append(each.progress))
    assert seen[-1] == 1.0
    assert [row.name.replace("%22", '"') for row in ended.rows] == [*names, "image"]
    first, second, broken = ended.rows
    assert broken.job is None
    assert broken.problem is not None
    assert broken.problem["code"] == "image_format_not_allowed"
    assert first.job is not None
    assert second.job is not None
    same = client.inpaint(encode(PHOTO), encode(MASK), seed=2)
    assert client.jobs.result(second.job.id).data == same.data
    listed = list(client.jobs.list())
    assert {job.id for job in listed} == {first.job.id, second.job.id}
    assert [job.created for job in listed] == sorted((job.created for job in listed), reverse=True)
    styled = client.batches.stylize(paths, encode(STYLE))
    assert client.batches.cancel(styled.id).has_ended


def test_the_list_goes_on_page_by_page(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.deploy.client.jobs._PAGE", 2)
    client = Client(service.url)
    service.engine.go = True
    made = [client.jobs.inpaint(encode(PHOTO), encode(MASK), seed=seed).id for seed in range(5)]
    assert {job.id for job in client.jobs.list()} == set(made)
    for job in made:
        client.jobs.wait(job)
