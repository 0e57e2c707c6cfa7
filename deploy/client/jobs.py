"""Long work: jobs and batches are sent at once, and images fetched when they are done."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Unpack

from kintsugi.deploy.client.answers import Answer, ClientError, Response, answer_of
from kintsugi.deploy.client.request_options import InpaintOptions, StylizeOptions

_PAUSE_SECONDS = 1.0
_PAGE = 50
# A file by its path, or its bytes.
Source = bytes | str | Path


@dataclass(frozen=True)
class Job:
    """A job as it stands.

    Attributes:
        id: Names it.
        kind: inpaint or stylize.
        created: When, as ISO 8601 writes it.
        state: queued, running, done, failed, cancelled or expired.
        progress: 0 to 1.
        problem: Why it failed: status, code, detail, hint, request_id; None if it did not.
    """

    id: str
    kind: str
    created: str
    state: str
    progress: float
    problem: Mapping[str, object] | None

    @property
    def has_ended(self) -> bool:
        """Whether it stays as it is."""
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class BatchRow:
    """One photograph of a batch.

    Attributes:
        name: As its file was called.
        job: None where it was refused.
        problem: Why it was refused, or its job failed; None otherwise.
    """

    name: str
    job: Job | None
    problem: Mapping[str, object] | None


@dataclass(frozen=True)
class Batch:
    """Photographs that were sent together, in their order.

    Attributes:
        id: Names it.
        state: running or ended.
        progress: 0 to 1, of all.
        rows: Each photograph's.
    """

    id: str
    state: str
    progress: float
    rows: Sequence[BatchRow]

    @property
    def has_ended(self) -> bool:
        """Whether none of its jobs goes on."""
        return self.state == "ended"


class _Send(Protocol):
    def __call__(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Response:
        """Send a request, and again while that may help. Raises: ClientError."""


class _Form(Protocol):
    def __call__(
        self, files: Mapping[str, Source | Sequence[Source]], options: Mapping[str, object]
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

    def list(self) -> Iterator[Job]:
        """The jobs of this client's API key, the newest first; asked for as they are taken."""
        after = ""
        while True:
            query = f"?limit={_PAGE}" + (f"&after={after}" if after else "")
            page = json.loads(self._send("GET", f"/v1/jobs{query}", b"", {}).body)
            yield from (_job_of(document) for document in page["jobs"])
            after = page["next"]
            if after is None:
                return

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
        return self.result(job_id)

    def result(self, job_id: str) -> Answer:
        """The image of a job that is done."""
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


class Batches:
    """Several photographs in one request; `Client.batches`. Raises as `Client.inpaint`."""

    def __init__(self, send: _Send, form: _Form) -> None:
        self._send = send
        self._form = form

    def inpaint(
        self,
        images: Sequence[Source],
        masks: Sequence[Source] | Source | None = None,
        *,
        idempotency_key: str = "",
        **options: Unpack[InpaintOptions],
    ) -> Batch:
        """Have the holes of several images filled, each as a job of its own.

        Args:
            images: Files or their bytes, at most 100.
            masks: One for each in the same order, or one for all; as `Client.inpaint`.
            idempotency_key: As `Jobs.inpaint`.
            options: For all; see InpaintOptions.
        """
        files: dict[str, Source | Sequence[Source]] = {"image": images}
        if masks is not None:
            files["mask"] = masks
        return self._submit("inpaint", files, dict(options), idempotency_key)

    def stylize(
        self,
        contents: Sequence[Source],
        style: Source,
        *,
        idempotency_key: str = "",
        **options: Unpack[StylizeOptions],
    ) -> Batch:
        """Have several images given the look of one; arguments as above."""
        files: dict[str, Source | Sequence[Source]] = {"content": contents, "style": style}
        return self._submit("stylize", files, dict(options), idempotency_key)

    def get(self, batch_id: str) -> Batch:
        """A batch as it stands now."""
        return _batch(self._send("GET", f"/v1/batches/{batch_id}", b"", {}))

    def wait(self, batch_id: str, *, on_progress: Callable[[Batch], object] | None = None) -> Batch:
        """Wait until all of its jobs have ended; `Jobs.result` gives each one's image.

        Args:
            batch_id: As `Batch.id`.
            on_progress: Called with the batch each time it was looked at.
        """
        while True:
            batch = self.get(batch_id)
            if on_progress is not None:
                on_progress(batch)
            if batch.has_ended:
                return batch
            time.sleep(_PAUSE_SECONDS)

    def cancel(self, batch_id: str) -> Batch:
        """Give all of its jobs up, and delete their images."""
        return _batch(self._send("DELETE", f"/v1/batches/{batch_id}", b"", {}))

    def _submit(
        self,
        kind: str,
        files: Mapping[str, Source | Sequence[Source]],
        options: dict[str, object],
        idempotency_key: str,
    ) -> Batch:
        body, content_type = self._form(files, {"kind": kind, **options})
        headers = {
            "content-type": content_type,
            "idempotency-key": idempotency_key or uuid.uuid4().hex,
        }
        return _batch(self._send("POST", "/v1/batches", body, headers))


def _job(response: Response) -> Job:
    return _job_of(json.loads(response.body))


def _job_of(document: Mapping[str, Any]) -> Job:
    names = ("id", "kind", "created", "state", "progress", "problem")
    return Job(*(document[name] for name in names))


def _batch(response: Response) -> Batch:
    document = json.loads(response.body)
    rows = []
    for row in document["rows"]:
        job = None if row["job"] is None else _job_of(row["job"])
        problem = row["problem"] if job is None else job.problem
        rows.append(BatchRow(row["name"], job, problem))
    return Batch(document["id"], document["state"], document["progress"], rows)


def _failure(problem: Mapping[str, object]) -> ClientError:
    return ClientError(
        int(str(problem["status"])),
        str(problem["code"]),
        detail=f"{problem['detail']}; {problem['hint']}",
        request_id=str(problem["request_id"]),
    )
