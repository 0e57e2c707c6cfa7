"""What `ray job submit --working-dir .` sends, by Ray's own walk; starts no Ray."""

import subprocess
from collections import Counter
from pathlib import Path

from ray._private.runtime_env.packaging import _dir_travel

ROOT = Path(__file__).parents[2]
# Ray refuses 500 MB; the code and the bundled release have a tenth of it.
MOST_BYTES = 60_000_000


def sent() -> list[Path]:
    """The files, each by the path under which it is unpacked."""
    found: list[Path] = []
    _dir_travel(ROOT, [], found.append, include_gitignore=True)
    # What is there and not in git, such as another checkout's leftovers, is this machine's.
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    ours = {(ROOT / name).resolve() for name in tracked if name}
    return [path for path in found if path.is_file() and path.resolve() in ours]


def test_weights_travel_once_and_code_by_every_path_that_is_imported() -> None:
    files = sent()
    names = {str(path.relative_to(ROOT)) for path in files}
    weights = Counter(path.resolve() for path in files if path.suffix == ".safetensors")
    assert set(weights.values()) == {1}, weights
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    # Ray follows the links of platform/kintsugi: by these names the parts are imported.
    for part in ("models/inpainter.py", "deploy/app.py", "jobs/fill.py", "jobs/configs/paper.toml"):
        assert f"platform/kintsugi/{part}" in names, part
    assert "models/pretrained/small/model.safetensors" in names
