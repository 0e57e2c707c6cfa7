"""A service in a process of its own, to be killed and started again; it fills as far as it may.

python -m tests.browser.restartable PORT FOLDER
"""

import itertools
import socket
import subprocess
import sys
import time
from pathlib import Path

import uvicorn
from torch import Tensor

from kintsugi.deploy.api import build_api
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import CancelCheck, Inpainter, never_cancelled
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.plan.fill_plan import FillPlan
from kintsugi.models.progress import Progress, Step, no_progress
from tests.deploy.conftest import MODEL

ROOT = Path(__file__).parents[2]


class HeldInpainter(Inpainter):
    """Begins so many scales as a file says, all where there is none: there is a middle then."""

    allowed: Path

    def fill_plan(
        self,
        plan: FillPlan,
        seed: int = 0,
        *,
        check: CancelCheck = never_cancelled,
        progress: Progress = no_progress,
    ) -> Tensor:
        begun = itertools.count(1)

        def held(step: Step) -> None:
            progress(step)
            number = next(begun)
            while self.allowed.exists() and number > int(self.allowed.read_text() or 0):
                check()
                time.sleep(0.02)

        return super().fill_plan(plan, seed, check=check, progress=held)


class Restartable:
    """The service; `url` stays the same."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._folder = folder
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = [str(word) for word in (self._port, self._folder)]
        command = [sys.executable, "-m", "tests.browser.restartable", *words]
        self._process = subprocess.Popen(command, cwd=ROOT)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(f"nothing answers at {self.url}")

    def allow(self, scales: int | None) -> None:
        """Let each fill begin so many scales; the last one waits. None for all."""
        path = self._folder / "allowed"
        if scales is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(str(scales - 1))

    def kill(self) -> None:
        """As when the machine goes off: nothing is tidied up."""
        self._process.kill()
        self._process.wait()


def main(port: int, folder: Path) -> None:
    drawn = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=1)
    inpainter = HeldInpainter(drawn.image2feature, drawn.feature2image, drawn.matching)
    inpainter.allowed = folder / "allowed"
    args = AppArgs(release="unused", jobs=str(folder / "jobs"), jobs_lease_seconds=2)
    uvicorn.run(build_api(LocalEngine(inpainter, MODEL), args), port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
