"""Checkpoints on their way to storage while a run trains on; knows no loop and no Ray."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path


class Uploads:
    """One checkpoint at a time travels, in a thread of its own.

    The next one waits until the one before has arrived, so that no more than two lie on this
    disk, and what storage refused is raised there.

    Args:
        publish: Uploads a folder of a step; what it raises is raised by `submit` or `wait`.
    """

    def __init__(self, publish: Callable[[Path, int], None]) -> None:
        self._publish = publish
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, folder: Path, step: int) -> None:
        """Upload a folder, which is deleted then, as soon as the one before has arrived.

        Raises: what the one before was refused with; this folder is deleted all the same.
        """
        try:
            self.wait()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._thread = threading.Thread(target=self._upload, args=(folder, step), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing travels any more."""
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def has_arrived(self, patience_s: float) -> bool:
        """Whether nothing travels any more, after so many seconds at most; raises nothing."""
        if self._thread is None:
            return True
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def join(self) -> None:
        """The same where a run ends by another error: this one's is not raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _upload(self, folder: Path, step: int) -> None:
        try:
            self._publish(folder, step)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that trains.
            self._error = error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
