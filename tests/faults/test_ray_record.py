"""Ray Train's own record of checkpoints fails or is damaged: neither ends a run."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from kintsugi.storage.storage import Storage
from kintsugi.train.cluster.ray_record import RAY_SNAPSHOT
from tests.fault_proxy import FaultProxy, ServerError, fault_proxy
from tests.faults.conftest import FAULTS, OneNode
from tests.kintsugi.training_runs import NUM_STEPS, debug_config
from tests.object_store import Endpoint

pytestmark = FAULTS


@pytest.fixture
def store(
    object_store: Endpoint, one_node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """A proxy before the object store, through which this process and Ray's reach it."""
    import ray

    with fault_proxy(object_store.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        variables = object_store.environment() | {"AWS_ENDPOINT_URL": proxy.url}
        ray.init(one_node.address, runtime_env={"env_vars": variables})
        yield proxy
        ray.shutdown()


def test_one_failed_write_of_it_is_not_seen(store: FaultProxy, folder: Path, s3_uri: str) -> None:
    from kintsugi.train.ray_trainer import fit

    config = debug_config(folder)
    checkpoints = Storage(s3_uri).join("runs", config.run, "checkpoints")
    # Cut short by an earlier submission; Ray would fail on it.
    checkpoints.write(RAY_SNAPSHOT, b'{"ray_version": ')
    left = iter([ServerError()])
    store.plan = lambda method, path: (
        next(left, None) if method == "PUT" and RAY_SNAPSHOT in path else None
    )
    config = dataclasses.replace(config, storage=f"{s3_uri}/runs")
    assert fit(config).last_step == NUM_STEPS
    assert store.injected == 1
    assert b"checkpoint_results" in checkpoints.read(RAY_SNAPSHOT)
