"""jobs/write_shards.py in every way that it can be started."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kintsugi.data.shard_manifest import read_manifest
from kintsugi.data.splits import is_held_out
from kintsugi.errors import ConfigError
from kintsugi.jobs.write_shards import main
from kintsugi.servers.cluster import Cluster
from kintsugi.storage.storage import Storage
from tests.kintsugi.corrupt_shards import replace_rows
from tests.kintsugi.pictures import photo

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "jobs" / "write_shards.py"


def clean_environment() -> dict[str, str]:
    """As a user has it: nothing says where the code is or that a cluster runs."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS")}


def start(
    *command: str | Path, cwd: Path = ROOT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
    )


def write_photos(storage: Storage, count: int) -> None:
    for index in range(count):
        storage.write(f"{index:04d}.jpg", photo(64, 64))


def test_help_shows_examples(tmp_path: Path) -> None:
    shown = start(SCRIPT, "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "kintsugi shards --input s3://" in shown.stdout


def test_a_wrong_flag_is_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--colour"])
    assert caught.value.code == 2


def test_flags_are_checked_before_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kintsugi.jobs.write_shards.start_ray", lambda: pytest.fail("started"))
    for wrong in (["--held-out", "2"], ["--kind", "zip"]):
        with pytest.raises(ConfigError):
            main(["--input", "samples", "--output", str(tmp_path / "shards"), *wrong])


def test_it_can_be_started_without_naming_python() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text().startswith("#!/usr/bin/env python3\n")


@pytest.mark.ray
def test_by_path_with_the_sample_photographs(tmp_path: Path) -> None:
    # From another folder, relative output: it means that folder.
    shards, figures = tmp_path / "shards", tmp_path / "figures.json"
    done = start(SCRIPT, "--output", "shards", "--json", figures, "--verify", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "part 1 of 1: 8 photographs, 0 rejected" in done.stdout
    assert json.loads(figures.read_text())["rows"] == 8
    assert read_manifest(Storage(shards)).rows == 8


def test_shards_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.jobs.write_shards.start_ray", lambda: None)
    photos, shards = Storage(tmp_path / "photos"), tmp_path / "shards"
    write_photos(photos, 3)
    flags = ["--input", photos.uri, "--output", str(shards)]
    assert main(flags) == 0
    with pytest.raises(ConfigError, match="holds shards already"):
        main(flags)
    assert main([*flags, "--verify"]) == 0, "they are only read"
    for other in (["--held-out", "0.3"], ["--input", "samples"]):
        with pytest.raises(ConfigError, match="the shards at"):
            main([*flags, "--verify", *other])
    (shards / "part-00000.parquet").write_bytes(b"damaged")
    assert main([*flags, "--verify"]) == 1
    assert main([*flags, "--verify", "--overwrite"]) == 0


def test_some_are_held_out_and_what_does_not_decode_is_found_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kintsugi.jobs.write_shards.start_ray", lambda: None)
    photos, shards = Storage(tmp_path / "photos"), Storage(tmp_path / "shards")
    write_photos(photos, 12)
    flags = ["--input", photos.uri, "--output", shards.uri, "--verify", "--decode"]
    assert main([*flags, "--held-out", "0.3"]) == 0
    manifest = read_manifest(shards)
    assert manifest.held_out_share == 0.3
    assert manifest.to_dict()["held_out"] == sum(is_held_out(name, 0.3) for name in photos.list())
    assert 0 < manifest.to_dict()["held_out"] < 12
    replace_rows(shards, 0, {0: b"x"})
    assert main(flags[:-1]) == 0
    assert main(flags) == 1
    with pytest.raises(ConfigError, match=r"held-out share of 1\.0"):
        main([*flags, "--overwrite", "--held-out", "1"])


def test_decoding_belongs_to_verifying() -> None:
    with pytest.raises(ConfigError, match="give both"):
        main(["--decode"])


@pytest.mark.ray
def test_as_a_module_that_joins_a_cluster_with_rejects_and_many_parts(
    local_ray: Any, tmp_path: Path
) -> None:
    photos = Storage(tmp_path / "photos")
    write_photos(photos, 300)
    photos.write("broken.png", b"x")
    output = tmp_path / "shards"
    flags = ["--input", photos.uri, "--output", output]
    address = local_ray.get_runtime_context().gcs_address
    done = start("-m", "kintsugi.jobs.write_shards", *flags, RAY_ADDRESS=address)
    assert done.returncode == 0, done.stderr
    assert "broken.png: the image is none of PNG, JPEG" in done.stdout
    assert [part.rows for part in read_manifest(Storage(output)).parts] in ([256, 44], [255, 45])


@pytest.mark.ray
def test_submitted_to_a_cluster_that_has_no_code(job_cluster: Cluster, s3_uri: str) -> None:
    write_photos(Storage(s3_uri).join("photos"), 300)
    job = [f"{Path(sys.executable).parent}/ray", "job", "submit", "--working-dir", "."]
    script = ["--", "jobs/write_shards.py", "--input", f"{s3_uri}/photos"]
    done = subprocess.run(
        [*job, *script, "--output", f"{s3_uri}/shards", "--verify"],
        cwd=ROOT,
        env=clean_environment() | job_cluster.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_manifest(Storage(f"{s3_uri}/shards")).rows == 300
