"""What the API says of a job, and how it answers with its image; reads no storage."""

from datetime import UTC, datetime

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from kintsugi.deploy.async_jobs.records import Job, JobStep, Kind, State
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
                "progress": 0.5,
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
    failure = job.outcome.problem
    problem = Problem(failure.status, failure.code, detail=failure.detail, hint=failure.hint)
    return problem_document(problem, job.record.request_id)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
