"""One run on Ray for all tests of what it reported: starting its processes is dear."""

import json
from dataclasses import replace

import pytest

from tests.kintsugi.train.cluster.reported_run import HERE, ReportedRun
from tests.kintsugi.training_runs import debug_config, pack_photos


@pytest.fixture(scope="package")
def reported_run(local_ray: object, tmp_path_factory: pytest.TempPathFactory) -> ReportedRun:
    from kintsugi.train.ray_trainer import fit

    folder = tmp_path_factory.mktemp("reported")
    pack_photos(folder)
    config = debug_config(folder, max_steps=3, checkpoint_every=1, keep_checkpoints=2)
    callbacks = (f"{HERE}:Broken", f"{HERE}:Journal")
    workers = replace(config.workers, callbacks=callbacks, max_failures=0)
    config = replace(config, workers=workers)
    trained = fit(config)
    lines = (folder / "runs" / "journal.jsonl").read_text().splitlines()
    return ReportedRun(config, trained, [json.loads(line) for line in lines])
