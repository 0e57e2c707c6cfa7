"""`/v1/jobs`: take, show, answer with and give up long work; runs and keeps nothing itself."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from fastapi import FastAPI, Request, Response

from kintsugi.deploy.async_jobs.documents import (
    RETRY_AFTER,
    UNENDED,
    JobDocument,
    JobsDocument,
    image_response,
    job_response,
    jobs_response,
)
from kintsugi.deploy.async_jobs.forms import JobForm, job_schema, read_job_form
from kintsugi.deploy.async_jobs.records import (
    Job,
    JobRecord,
    digests,
    fresh_id,
    key_digest,
    keyed_id,
)
from kintsugi.deploy.async_jobs.service import Jobs
from kintsugi.deploy.http.middleware import whole_number
from kintsugi.deploy.http.problems import Problem, problem_responses
from kintsugi.deploy.options import unknown_field
from kintsugi.errors import InvalidInput

_MOST_LISTED = 200
_CURSOR = re.compile(r"[0-9]{15}-[0-9a-f]{32}")
IDEMPOTENCY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Of your choice, at most 255 visible ASCII characters: the same request sent"
    " again with it makes no second job",
    "schema": {"type": "string", "maxLength": 255},
    "example": "order-4711",
}
_PAGE_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "limit",
        "in": "query",
        "description": f"at most so many, 1 to {_MOST_LISTED}",
        "schema": {"type": "integer", "minimum": 1, "maximum": _MOST_LISTED, "default": 50},
    },
    {
        "name": "after",
        "in": "query",
        "description": "`next` of the page before",
        "schema": {"type": "string", "maxLength": 100},
    },
]
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")


def add_job_routes(
    app: FastAPI, jobs: Jobs | None, guards: Sequence[Any], with_body: Sequence[Any]
) -> "JobRoutes":
    """Long work over HTTP; without ``jobs`` every route says that there is none."""
    routes = JobRoutes(jobs)
    document = {"model": JobDocument}
    app.post(
        "/v1/jobs",
        summary="Have an image made while nobody waits",
        status_code=202,
        response_model=JobDocument,
        dependencies=with_body,
        responses={
            200: {**document, "description": "The job that this Idempotency-Key has made before"},
            **problems(400, 413, 415, 422),
        },
        openapi_extra={"requestBody": job_schema(), "parameters": [IDEMPOTENCY_PARAMETER]},
    )(routes.create)
    app.get(
        "/v1/jobs",
        summary="The jobs of an API key",
        response_model=JobsDocument,
        dependencies=guards,
        responses=problems(422),
        openapi_extra={"parameters": _PAGE_PARAMETERS},
    )(routes.list)
    app.get(
        "/v1/jobs/{job_id}",
        summary="How a job stands",
        response_model=JobDocument,
        dependencies=guards,
        responses=problems(404),
    )(routes.show)
    app.get(
        "/v1/jobs/{job_id}/result",
        summary="The image of a job",
        response_class=Response,
        dependencies=guards,
        responses={
            200: {"description": "the image", "content": {"image/*": {"schema": _BINARY}}},
            **problems(404, 409, 410),
        },
    )(routes.result)
    app.delete(
        "/v1/jobs/{job_id}",
        summary="Give a job up, and delete its images",
        response_model=JobDocument,
        dependencies=guards,
        responses=problems(404),
    )(routes.cancel)
    return routes


class JobRoutes:
    """What each route does."""

    def __init__(self, jobs: Jobs | None) -> None:
        self._jobs = jobs
        # Locks of requests that are here at the same time with the same Idempotency-Key.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, request: Request) -> Response:
        """Check the same form as /v1/inpaint (or with `kind=stylize` /v1/stylize), and keep it.

        The answer's `Location` is the job. It runs when its turn comes, and again should
        the service be stopped meanwhile. A second request with the same `Idempotency-Key`
        and the same content is answered with the same job.
        """
        jobs = self.enabled()
        form = await read_job_form(request)
        jobs.hooks.check(form.webhook)
        with jobs.kept():
            job, is_fresh = await self.make(form, request, idempotency_key(request))
        return _shown(job, request, status=202 if is_fresh else 200)

    async def make(self, form: JobForm, request: Request, key: str) -> tuple[Job, bool]:
        """Check and take one job; inside of `Jobs.kept`.

        Args:
            form: What was sent.
            request: With what.
            key: The Idempotency-Key; "" for none.

        Returns: the job, and whether it was not there before.

        Raises: InputError; Problem: as the request for the same image, and 503 `jobs_full`.
        """
        jobs = self.enabled()
        await jobs.work.check(form.form)
        record = new_record(form, request, jobs.now(), key)
        if not key:
            return await _take(jobs, record, form, is_keyed=False), True
        name = key_digest(record.key_name, key)
        async with self.lock(name):
            known = await jobs.made_before(record, name)
            if known is not None:
                return known, False
            job = await _take(jobs, record, form, is_keyed=True)
            await jobs.keep_key(name, record.id)
            return job, True

    async def list(self, request: Request) -> Response:
        """Those of the key that is sent, the newest first; of a service without keys, all.

        A page may be shorter than `limit`: it is answered with what was read within seconds, and
        `next` leads on until it is null. A job stays in the list a day longer than its image, as
        its document does.
        """
        jobs = self.enabled()
        limit, after = _page(request)
        with jobs.kept():
            found, more = await jobs.page(key_name_of(request), after=after, limit=limit)
        return jobs_response(found, more, root_path=request.scope.get("root_path", ""))

    async def show(self, job_id: str, request: Request) -> Response:
        """Its state, how far it is, and why it failed if it did.

        Ask again after the seconds of `Retry-After`, which is there until the job has ended.
        """
        jobs = self.enabled()
        with jobs.kept():
            return _shown(await jobs.find(job_id, key_name_of(request)), request)

    async def result(self, job_id: str, request: Request) -> Response:
        """The image, as the request for the same image would be answered.

        409 until the job is done (`job_not_done`), or when it has failed (`job_failed`); 410
        when it was given up (`job_cancelled`) or its time is over (`job_expired`).
        """
        jobs = self.enabled()
        with jobs.kept():
            job = await jobs.find(job_id, key_name_of(request))
            if job.state != "done":
                raise _no_result(job)
            return image_response(job, await jobs.image(job))

    async def cancel(self, job_id: str, request: Request) -> Response:
        """Stop it where it is, and delete what was sent and what was made; also when it is done.

        Sent again, it changes nothing.
        """
        jobs = self.enabled()
        with jobs.kept():
            job = await jobs.find(job_id, key_name_of(request))
            if job.state not in ("cancelled", "expired"):
                await jobs.cancel(job_id)
                job = await jobs.find(job_id, key_name_of(request))
            return _shown(job, request)

    def lock(self, name: str) -> asyncio.Lock:
        """One request at a time has the lock of a name, such as of an Idempotency-Key."""
        return self._locks.setdefault(name, asyncio.Lock())

    def enabled(self) -> Jobs:
        """Those of the service. Raises: Problem 501 `jobs_disabled`: it keeps none."""
        if self._jobs is None:
            raise Problem(
                501,
                "jobs_disabled",
                detail="this service keeps no jobs",
                hint="use /v1/inpaint or /v1/stylize; the operator can name a place for jobs:"
                " args.jobs in deploy/serve.yaml",
            )
        return self._jobs


async def _take(jobs: Jobs, record: JobRecord, form: JobForm, *, is_keyed: bool) -> Job:
    await jobs.submit([(record, form.files)], is_keyed=is_keyed)
    return await jobs.find(record.id, record.key_name)


def new_record(form: JobForm, request: Request, now: float, key: str) -> JobRecord:
    """What is kept of a job that is sent ``now``, with this Idempotency-Key if it is not ""."""
    record = JobRecord(
        id=fresh_id(),
        kind=form.kind,
        options=form.option_values,
        files=digests(form.files),
        key_name=key_name_of(request),
        request_id=request.state.request_id,
        created=now,
        webhook=form.webhook,
    )
    return record.model_copy(update={"id": keyed_id(record, key)}) if key else record


def _no_result(job: Job) -> Problem:
    if job.state in UNENDED:
        return Problem(
            409,
            "job_not_done",
            detail=f"the job is {job.state}",
            hint="ask again in a second",
            headers=RETRY_AFTER,
        )
    if job.state == "failed":
        hint = "look at the job's problem: it says why"
        return Problem(409, "job_failed", detail="the job has failed", hint=hint)
    return Problem(
        410,
        f"job_{job.state}",
        detail=f"the job is {job.state}, and its image deleted",
        hint="send the job again",
    )


def idempotency_key(request: Request) -> str:
    """The header's; "" for none. Raises: InvalidInput `idempotency_key_invalid`."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return ""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidInput(
            "the Idempotency-Key is empty, too long or holds other characters",
            code="idempotency_key_invalid",
            hint="send 1 to 255 visible ASCII characters, such as a UUID",
        )
    return key


def _page(request: Request) -> tuple[int, str]:
    """Raises: InvalidInput: `limit_out_of_range`, `after_unknown`, `unknown_field`."""
    query = dict(request.query_params)
    limit, after = query.pop("limit", "50"), query.pop("after", "")
    if query:
        raise unknown_field(next(iter(query)), ["limit", "after"])
    count = whole_number(limit)
    if count is None or not 1 <= count <= _MOST_LISTED:
        raise InvalidInput(
            f"limit={limit[:20]} is not one of its values",
            code="limit_out_of_range",
            hint=f"limit: whole number from 1 to {_MOST_LISTED}",
        )
    if after and not _CURSOR.fullmatch(after):
        raise InvalidInput(
            "after is not what a page gave",
            code="after_unknown",
            hint="send `next` of the page before, or leave it out for the newest jobs",
        )
    return count, after


def key_name_of(request: Request) -> str:
    """Name of the request's API key; "" of a service without keys."""
    name: str = request.state.record.key_name
    return name


def _shown(job: Job, request: Request, *, status: int = 200) -> Response:
    return job_response(job, root_path=request.scope.get("root_path", ""), status=status)


_BINARY = {"type": "string", "format": "binary"}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These answers, and those of every route here, for OpenAPI."""
    return problem_responses(*sorted({*statuses, 401, 403, 429, 500, 501, 503}))
