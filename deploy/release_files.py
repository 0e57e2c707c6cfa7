"""From the setting `release` to a folder on this machine; knows no network and no Ray."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kintsugi.storage.storage import Storage

# Root of the repository or of the image: what relative paths start from, wherever the cluster's
# processes happen to stand.
ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def local_release(release: str) -> Iterator[Path]:
    """Give the release's folder; one from a URI is downloaded and removed afterwards.

    Args:
        release: As `AppArgs.release`.

    Raises:
        StorageError: There is nothing at the URI, or reading failed.
        ConfigError: The URI is of a kind that is not known.
    """
    if "://" not in release:
        yield ROOT / Path(release).expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="kintsugi-release-") as folder:
        Storage(release).fetch_folder("", Path(folder))
        yield Path(folder)
