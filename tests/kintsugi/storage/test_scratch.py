"""A full disk, for real: a file system of one mebibyte in a namespace of its own (F18)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kintsugi.errors import StorageError
from kintsugi.storage.scratch import scratch_folder

# A folder on a disk of its own, for this process and its children alone.
IN_A_SMALL_DISK = [
    "unshare",
    "-Urm",
    "sh",
    "-c",
    'mount -t tmpfs -o size=1m none "$0" && exec "$@"',
]
BUFFERED = """
import json, os, pathlib, sys, torch
from safetensors.torch import save_file
from kintsugi.errors import StorageError
from kintsugi.storage.scratch import scratch_folder
from kintsugi.storage.storage import Storage

disk = sys.argv[1]
Storage(disk).write("checkpoints/before", b"whole")
errors = {}
for how in ("tensors", "bytes"):
    try:
        with scratch_folder("a checkpoint") as folder:
            if how == "tensors":
                save_file({"a": torch.zeros(500_000)}, folder / "generator.safetensors")
            else:
                (folder / "state.json").write_bytes(bytes(2_000_000))
    except StorageError as error:
        errors[how] = str(error)
    errors[f"{how} left"] = os.listdir(disk)
try:
    Storage(disk).write("checkpoints/generator", bytes(2_000_000))
except StorageError as error:
    errors["storage"] = str(error)
errors["storage left"] = {name: Storage(disk).read(name).decode() for name in Storage(disk).list()}
print(json.dumps(errors))
"""


@pytest.mark.slow
def test_a_full_disk_is_reported_at_once_with_the_folder_and_the_remedy(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    trial = subprocess.run([*IN_A_SMALL_DISK, disk, "true"], capture_output=True, check=False)
    if trial.returncode:
        pytest.skip(f"no file system of one's own here: {trial.stderr.decode().strip()}")
    done = subprocess.run(
        [*IN_A_SMALL_DISK, disk, "env", f"TMPDIR={disk}", "PYTHONPATH=.:platform",
         sys.executable, "-c", BUFFERED, disk],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    for how in ("tensors", "bytes"):
        assert errors[how].startswith(f"cannot write a checkpoint to {disk}/kintsugi-")
        assert "of 1 MiB are free on the disk" in errors[how]
        assert "set TMPDIR to a folder on a larger disk" in errors[how]
        assert errors[f"{how} left"] == ["checkpoints"]
    assert errors["storage"].startswith(f"cannot write {disk}/checkpoints/generator: No space left")
    assert f"of 1 MiB are free on the disk of {disk}/checkpoints; free some" in errors["storage"]
    assert errors["storage left"] == {"checkpoints/before": "whole"}, "and nothing half written"


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(FileNotFoundError), scratch_folder("a checkpoint") as folder:
        (folder / "nothing").read_bytes()
    assert not folder.exists()
    with pytest.raises(StorageError, match="own words"), scratch_folder("a checkpoint"):
        raise StorageError("own words")
