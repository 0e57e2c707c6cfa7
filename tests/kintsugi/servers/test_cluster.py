"""kintsugi.servers.cluster: lets in who has its token, and leaves nothing behind."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from kintsugi.servers.cluster import Cluster, _remove, ray_cluster

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.ray


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found


def use(cluster: Cluster, folder: Path) -> None:
    """What an outsider can do and see while the cluster runs; then an interrupt."""
    # Jobs are taken before the node itself is up, whose end is what matters here.
    while "/raylet " not in (commands := " ".join(processes_of(folder))):
        time.sleep(0.1)
    assert cluster.token not in commands + repr(cluster)
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{cluster.dashboard}/api/jobs/", timeout=10)  # noqa: S310
    with refused.value:
        assert refused.value.code in (401, 403)
    raise KeyboardInterrupt


def test_it_needs_its_token_and_ends_with_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Short: Ray's sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="kt-", dir="/tmp") as short:
        folder = Path(short, "ray")
        folder.mkdir()
        monkeypatch.setattr("tempfile.mkdtemp", lambda prefix, dir: str(folder))
        with pytest.raises(KeyboardInterrupt), ray_cluster(ROOT, tmp_path / "log", {}) as cluster:
            use(cluster, folder)
        assert processes_of(folder) == []
        assert not folder.exists()


def test_a_file_written_while_the_folder_is_deleted_does_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [tmp_path / "ray" / "late.json"]
    late[0].parent.mkdir()
    delete = os.rmdir

    def write_and_delete(path: str, **options: Any) -> None:
        if late:
            late.pop().write_text("{}")
        delete(path, **options)

    monkeypatch.setattr(os, "rmdir", write_and_delete)
    _remove(tmp_path / "ray")
    assert not (tmp_path / "ray").exists()
