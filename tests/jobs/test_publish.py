"""jobs/publish.py: what its flags name is read, or refused in one line."""

from pathlib import Path

import pytest

from jobs.publish import read_metrics
from kintsugi.errors import ConfigError


def test_figures_are_read(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text('{"psnr": 1}')
    assert read_metrics(tmp_path / "f.json") == {"psnr": 1}


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff\xfe"])
def test_a_file_that_is_none_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^--metrics .*/f\.json.*: give what jobs/evaluate"):
        read_metrics(path)
