"""Long work: a job is sent at once, and its image fetched when it is done."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Unpack

from kintsugi.deploy.client.answers import Answer, ClientError, Response, answer_of
from kintsugi.deploy.client.request_options import InpaintOptions, StylizeOptions

_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Job:
    """A job as it stands.

    Attributes:
        id: Names it.
        state: queued, running, done, failed, cancelled or expired.
        progress: 0 to 1.
        problem: Why it failed: status, code, detail, hint, request_id; None if it did not.
    """

    id: str
    state: str
    progress: float
    problem: Mapping[str, object] | None

    @property
    def has_ended(self) -> bool:
        """Whether it stays as it is."""
        return self.state not in ("queued", "running")


class _Send(Protocol):
    def __call__(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Response:
        """Send a request, and again while that may help. Raises: ClientError."""


class _Form(Protocol):
    def __call__(
        self, files: Mapping[str, bytes | str | Path], options: Mapping[str, object]
    ) -> tuple[bytes, str]:
        """Files and options as a form, and its content type."""


class Jobs:
    """The jobs of a service; `Client.jobs`. Every method raises as `Client.inpaint`."""

    def __init__(self, send: _Send, form: _Form) -> None:
        self._send = send
        self._form = form

    def inpaint(
        self,
        image: bytes | str | Path,
        mask: bytes | str | Path | None = None,
        *,
        idempotency_key: str = "",
        **options: Unpack[InpaintOptions],
    ) -> Job:
        """Have the hole of an image filled; arguments as `Client.inpaint`.

        Args:
            image: The file or its bytes.
            mask: Likewise.
            idempotency_key: The same request sent again with it makes no second job; by
                default one of its own, for the tries of this call.
            options: See InpaintOptions.
        """
        files = {"image": image} if mask is None else {"image": image, "mask": mask}
        return self._submit("inpaint", files, dict(options), idempotency_key)

    def stylize(
        self,
        content: bytes | str | Path,
        style: bytes | str | Path,
        *,
        idempotency_key: str = "",
        **options: Unpack[StylizeOptions],
    ) -> Job:
        """Have an image given the look of another; arguments as `Client.stylize` and above."""
        files = {"content": content, "style": style}
        return self._submit("stylize", files, dict(options), idempotency_key)

    def get(self, job_id: str) -> Job:
        """A job as it stands now."""
        return _job(self._send("GET", f"/v1/jobs/{job_id}", b"", {}))

    def wait(
        self,
        job_id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Wait until a job has ended, and fetch its image.

        Args:
            job_id: As `Job.id`.
            on_progress: Called with the job each time it was looked at.
            timeout_seconds: How long at most; the job goes on.

        Raises:
            ClientError: It has failed, or was cancelled, or has expired; as `Client.inpaint`.
            TimeoutError: It has not ended in time.
        """
        give_up = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not (job := self.get(job_id)).has_ended:
            if on_progress is not None:
                on_progress(job)
            if give_up is not None and time.monotonic() > give_up:
                raise TimeoutError(f"job {job_id} is {job.state} after {timeout_seconds:g} s")
            time.sleep(_PAUSE_SECONDS)
        if on_progress is not None:
            on_progress(job)
        if job.problem is not None:
            raise _failure(job.problem)
        # The service says so when it was cancelled or has expired.
        return answer_of(self._send("GET", f"/v1/jobs/{job_id}/result", b"", {}))

    def cancel(self, job_id: str) -> Job:
        """Give a job up, and delete its images, whether it has ended or not."""
        return _job(self._send("DELETE", f"/v1/jobs/{job_id}", b"", {}))

    def _submit(
        self,
        kind: str,
        files: Mapping[str, bytes | str | Path],
        options: dict[str, object],
        idempotency_key: str,
    ) -> Job:
        body, content_type = self._form(files, {"kind": kind, **options})
        headers = {
            "content-type": content_type,
            "idempotency-key": idempotency_key or uuid.uuid4().hex,
        }
        return _job(self._send("POST", "/v1/jobs", body, headers))


def _job(response: Response) -> Job:
    document = json.loads(response.body)
    return Job(document["id"], document["state"], document["progress"], document["problem"])


def _failure(problem: Mapping[str, object]) -> ClientError:
    return ClientError(
        int(str(problem["status"])),
        str(problem["code"]),
        detail=f"{problem['detail']}; {problem['hint']}",
        request_id=str(problem["request_id"]),
    )
