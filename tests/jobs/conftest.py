"""A cluster for all tests that submit jobs."""

from collections.abc import Iterator

import pytest

from kintsugi.servers.cluster import Cluster, ray_cluster
from tests.object_store import Endpoint


@pytest.fixture(scope="package")
def job_cluster(
    object_store: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """It runs in a folder without the code: that travels with each job."""
    folder = tmp_path_factory.mktemp("cluster")
    with ray_cluster(folder, folder / "ray.log", object_store.environment()) as running:
        yield running
