"""From the setting to a folder."""

from pathlib import Path

import pytest

from kintsugi.deploy.release_files import ROOT, local_release
from kintsugi.errors import StorageError


def test_a_path_is_used_where_it_is(tmp_path: Path) -> None:
    with local_release(str(tmp_path)) as folder:
        assert folder == tmp_path
    with local_release("demo/release") as folder:
        assert folder == ROOT / "demo" / "release"
    assert (ROOT / "deploy" / "serve.yaml").is_file()


def test_a_uri_is_fetched_and_removed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with local_release(tmp_path.as_uri()) as folder:
        assert folder != tmp_path
        assert (folder / "config.json").read_text() == "{}"
    assert not folder.exists()


def test_nothing_at_the_uri_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="nothing at"),
        local_release((tmp_path / "missing").as_uri()),
    ):
        pass
