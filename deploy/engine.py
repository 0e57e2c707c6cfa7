"""What the HTTP interface needs of whatever makes images; knows no Ray and no network.

Two things are an Engine: the Serve graph (`kintsugi.deploy.graph.ingress.GraphEngine`) and an
Inpainter in the same process (`kintsugi.deploy.in_process.LocalEngine`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.errors import InvalidInput
from kintsugi.models.progress import Progress, no_progress

# 8 or 16 bits a sample.
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
# Digest digits of the weights' SHA-256; enough to distinguish releases.
_DIGEST_DIGITS = 12


@dataclass(frozen=True)
class ModelInfo:
    """Which release answers.

    Attributes:
        name: The name of the release.
        digest: "sha256:" and 64 hexadecimal digits, of its weights.
        size: The size of its networks: tiny, small or paper.
    """

    name: str
    digest: str
    size: str

    @property
    def version(self) -> str:
        """`name@sha256:xxxxxxxxxxxx`, as the header `x-model-version` shows it."""
        algorithm, _, digits = self.digest.partition(":")
        return f"{self.name}@{algorithm}:{digits[:_DIGEST_DIGITS]}"


def find_model(models: Sequence[ModelInfo], name: str) -> int:
    """Where among these releases the one of a request is; the first for "".

    Args:
        models: Those that are served.
        name: A release's name, or its `ModelInfo.version`.

    Raises: InvalidInput `model_unknown`, which names those that there are.
    """
    for index, model in enumerate(models):
        if name in ("", model.name, model.version):
            return index
    raise InvalidInput(
        f"model={name[:40]!a} is not served here",
        code="model_unknown",
        hint=f"model: one of {', '.join(model.name for model in models)}; or leave it out",
    )


@dataclass(frozen=True)
class Filled:
    """An answer: H W 3, RGB, of the photograph's size and depth, and the release that gave it."""

    pixels: Pixels
    model: ModelInfo


class Busy(Exception):
    """The engine cannot take the request now; the same request can succeed later.

    Attributes:
        retry_after: Seconds after which it probably can.
    """

    def __init__(self, message: str = "", *, retry_after: int = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NodeGone(Busy):
    """A part that every request needs has not been there for a while."""

    def __init__(self, nodes: Sequence[str]) -> None:
        super().__init__(f"{', '.join(nodes)} cannot be reached", retry_after=5)


class ReleaseUnreadable(Busy):
    """A part cannot load the release that a request began with; later it perhaps can."""


class Stopping(Busy):
    """The service is being stopped: another one can take the request."""

    def __init__(self) -> None:
        super().__init__("the service is being stopped", retry_after=5)


class WorkerDied(Exception):
    """Each process that computed the request died, as often as it was tried."""


class Engine(Protocol):
    """Fills holes and transfers styles."""

    async def inpaint(
        self,
        pixels: Pixels,
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """Fill the hole of one image; cancelling the call gives the work up.

        Args:
            pixels: H W 3, RGB 0-255 or 0-65535; H W 4 where some are unseen: 0 in the fourth.
            mask: H W, True = hole; neither empty nor full.
            options: The caller's choices.
            progress: Called with each step, by an engine that knows.

        Raises:
            InvalidInput: The options do not fit this image, or name a model that is not there.
            Busy: Try again later.
            WorkerDied: It may be this request's doing.
        """
        ...

    async def stylize(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """Give one image the look of another; cancelling the call gives the work up.

        Args:
            content: H W 3, RGB 0-255 or 0-65535.
            style: H2 W2 3, RGB 0-255.
            options: The caller's choices.
            progress: As `inpaint`.

        Raises:
            InvalidInput: The style is too small, or there is no such model.
            Busy, WorkerDied: As for `inpaint`.
        """
        ...

    async def models(self) -> list[ModelInfo]:
        """The releases that answer now, no two of one name; the first unless one is named.

        Raises: Busy.
        """
        ...

    async def ready(self) -> dict[str, bool]:
        """For every part by name whether it answers."""
        ...


@dataclass(frozen=True)
class Answered:
    """One request of the API that was answered.

    Attributes:
        outcome: "ok", or the code of its problem document; `client_gone` when nobody waited.
        route: As it is documented, such as /v1/jobs/{job_id}; "" for a path that is none.
        status: Of HTTP; 0 when nobody was answered.
        release: Name and digest of the release that computed it; "" where none did.
        megapixels: Of the photograph; None where none was opened.
        seconds: From its header to the end of the answer.
    """

    outcome: str
    route: str
    status: int
    release: str
    megapixels: float | None
    seconds: float


class Observer:
    """What the HTTP interface reports to; this one keeps nothing of it."""

    def answered(self, answer: Answered) -> None:
        """One request under /v1 or /v2 was answered."""

    def waiting(self, requests: int) -> None:
        """So many requests wait for their turn now."""

    def jobs(self, waiting: int, oldest_seconds: float) -> None:
        """So many jobs wait here now, and the oldest that has not ended was sent so long ago."""

    def job_ended(self, outcome: str) -> None:
        """A job has ended: "done", or the code of its problem."""

    def stage(self, name: str, seconds: float) -> None:
        """One request spent so long decoding or encoding."""

    def opened(self, height: int, width: int, hole_share: float | None) -> None:
        """A request's photograph has this size in pixels, and so much of it (0-1) is hole."""
