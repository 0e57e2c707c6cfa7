"""What the API says of a job, and how it answers with its image; reads no storage."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from kintsugi.deploy.async_jobs.records import (
    BatchRecord,
    BatchRow,
    Job,
    JobProblem,
    JobStep,
    Kind,
    State,
)
from kintsugi.deploy.http.problems import Problem, ProblemDocument, problem_document

# What asks again sooner learns nothing new.
UNENDED = ("queued", "running")
RETRY_AFTER = {"retry-after": "1"}


class JobDocument(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "8b1f0a6ce39c4f0f9e1d5a4be1b0f5c2",
                "kind": "inpaint",
                "state": "running",
                "progress": 0.2,
                "step": {"crop": 0, "crops": 1, "scale": 2, "scales": 4},
                "created": "2026-11-23T10:00:00Z",
                "started": "2026-11-23T10:00:04Z",
                "finished": None,
                "expires": "2026-11-24T10:00:00Z",
                "result": None,
                "problem": None,
            }
        }
    )

    id: str
    kind: Kind
    state: State = Field(
        description="queued, running, done, failed, cancelled; expired: its image is deleted"
    )
    progress: float = Field(ge=0, le=1, description="0 to 1: how much of it is done")
    step: JobStep | None = Field(description="the same in scales; null while none has begun")
    created: datetime
    started: datetime | None = Field(description="when it was last started")
    finished: datetime | None
    expires: datetime = Field(description="when its images are deleted; later, once it has ended")
    result: str | None = Field(description="path of the image; null until it is done")
    problem: ProblemDocument | None = Field(description="why it failed")


class JobsDocument(BaseModel):
    """Jobs of an API key, the newest first."""

    jobs: list[JobDocument]
    next: str | None = Field(description="`after` of the next page; null on the last")


class RowDocument(BaseModel):
    """One photograph of a batch."""

    name: str = Field(description="as its file was called")
    job: JobDocument | None = Field(
        description="null where it was refused, or is not kept any more"
    )
    problem: ProblemDocument | None = Field(description="why it was refused; null otherwise")


class BatchDocument(BaseModel):
    """Jobs that were sent together, in their order."""

    id: str
    state: Literal["running", "ended"] = Field(description="ended: none of its jobs goes on")
    progress: float = Field(ge=0, le=1, description="0 to 1: how much of all of them is done")
    done: int = Field(ge=0, description="jobs that have made their image")
    failed: int = Field(ge=0, description="photographs that were refused, and jobs that failed")
    created: datetime
    rows: list[RowDocument]


def batch_response(
    batch: BatchRecord, jobs: Sequence[Job | None], *, root_path: str, status: int = 200
) -> Response:
    """The batch's document.

    Args:
        batch: What was sent.
        jobs: Each row's; None where there is none.
        root_path: As `job_response`.
        status: The answer's.
    """
    root = root_path.rstrip("/")
    rows = [_row(batch, row, job, root) for row, job in zip(batch.rows, jobs, strict=True)]
    running = [row.job for row in rows if row.job is not None and row.job.state in UNENDED]
    document = BatchDocument(
        id=batch.id,
        state="running" if running else "ended",
        progress=1 - sum(1 - job.progress for job in running) / len(rows),
        done=sum(job is not None and job.state == "done" for job in jobs),
        failed=sum(
            row.problem is not None or (row.job is not None and row.job.state == "failed")
            for row in rows
        ),
        created=_moment(batch.created),
        rows=rows,
    )
    headers = {"cache-control": "no-store", "location": f"{root}/v1/batches/{batch.id}"}
    if running:
        headers |= RETRY_AFTER
    return Response(document.model_dump_json(), status, headers, media_type="application/json")


def _row(batch: BatchRecord, row: BatchRow, job: Job | None, root: str) -> RowDocument:
    problem = None if row.problem is None else _said(row.problem, batch.request_id)
    shown = None if job is None else job_document(job, f"{root}/v1/jobs/{job.record.id}")
    return RowDocument(name=row.name, job=shown, problem=problem)


def jobs_response(jobs: list[Job], after: str, *, root_path: str) -> Response:
    """A page of jobs; ``after`` is what leads on, "" on the last."""
    addresses = [f"{root_path.rstrip('/')}/v1/jobs/{job.record.id}" for job in jobs]
    documents = [job_document(job, at) for job, at in zip(jobs, addresses, strict=True)]
    body = JobsDocument(jobs=documents, next=after or None).model_dump_json()
    headers = {"cache-control": "no-store"}
    return Response(body, headers=headers, media_type="application/json")


def job_response(job: Job, *, root_path: str, status: int = 200) -> Response:
    """The job's document.

    Args:
        job: As it stands.
        root_path: What stands before /v1 in the addresses of this service.
        status: The status of the answer.
    """
    address = f"{root_path.rstrip('/')}/v1/jobs/{job.record.id}"
    headers = {"cache-control": "no-store", "location": address}
    if job.state in UNENDED:
        headers |= RETRY_AFTER
    body = job_document(job, address).model_dump_json()
    return Response(body, status, headers, media_type="application/json")


def image_response(job: Job, image: bytes) -> Response:
    """The image of a job that is done, as the request for the same image would be answered."""
    assert job.outcome is not None
    assert job.outcome.result is not None
    result = job.outcome.result
    headers = {
        "x-model-version": result.model_version,
        # Bytes of unknown origin went in: no browser shall see anything else in them.
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    if result.notes:
        headers["x-image-notes"] = result.notes
    return Response(image, headers=headers, media_type=result.media_type)


def job_document(job: Job, address: str) -> JobDocument:
    """What the API says of a job whose path is ``address``."""
    return JobDocument(
        id=job.record.id,
        kind=job.record.kind,
        state=job.state,
        progress=1.0 if job.state == "done" else job.step.fraction if job.step else 0.0,
        step=job.step,
        created=_moment(job.record.created),
        started=None if job.started is None else _moment(job.started),
        finished=None if job.finished is None else _moment(job.finished),
        expires=_moment(job.expires),
        result=f"{address}/result" if job.state == "done" else None,
        problem=_problem(job),
    )


def _problem(job: Job) -> ProblemDocument | None:
    if job.outcome is None or job.outcome.problem is None:
        return None
    return _said(job.outcome.problem, job.record.request_id)


def _said(kept: JobProblem, request_id: str) -> ProblemDocument:
    problem = Problem(kept.status, kept.code, detail=kept.detail, hint=kept.hint)
    return problem_document(problem, request_id)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def damaged() -> Problem:
    """What is said of a job whose files were altered."""
    return Problem(
        500,
        "job_damaged",
        detail="what was kept of this job cannot be read any more",
        hint="send the job again",
    )
