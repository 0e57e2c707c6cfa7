"""`/v1/batches`: photographs that are sent together, each a job of its own; runs nothing."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response

from kintsugi.deploy.async_jobs.documents import BatchDocument, batch_response
from kintsugi.deploy.async_jobs.forms import (
    MOST_AT_ONCE,
    JobForm,
    batch_schema,
    read_batch_form,
)
from kintsugi.deploy.async_jobs.records import (
    BatchRecord,
    BatchRow,
    Job,
    JobProblem,
    fresh_id,
    key_digest,
)
from kintsugi.deploy.async_jobs.routes import (
    IDEMPOTENCY_PARAMETER,
    JobRoutes,
    idempotency_key,
    key_name_of,
    problems,
)
from kintsugi.deploy.http.problems import Problem, to_problem
from kintsugi.errors import InputError

_LONGEST_NAME = 255


def add_batch_routes(
    app: FastAPI, jobs: JobRoutes, guards: Sequence[Any], with_body: Sequence[Any]
) -> None:
    """Several photographs in one request."""
    routes = BatchRoutes(jobs)
    app.post(
        "/v1/batches",
        summary=f"Have up to {MOST_AT_ONCE} images made while nobody waits",
        status_code=202,
        response_model=BatchDocument,
        dependencies=with_body,
        responses=problems(400, 413, 415, 422),
        openapi_extra={"requestBody": batch_schema(), "parameters": [IDEMPOTENCY_PARAMETER]},
    )(routes.create)
    app.get(
        "/v1/batches/{batch_id}",
        summary="How a batch stands",
        response_model=BatchDocument,
        dependencies=guards,
        responses=problems(404),
    )(routes.show)
    app.delete(
        "/v1/batches/{batch_id}",
        summary="Give all jobs of a batch up, and delete their images",
        response_model=BatchDocument,
        dependencies=guards,
        responses=problems(404),
    )(routes.cancel)


class BatchRoutes:
    """What each route does."""

    def __init__(self, jobs: JobRoutes) -> None:
        self._jobs = jobs

    async def create(self, request: Request) -> Response:
        """Make a job of each `image`, with the `mask` of the same place or the one for all.

        The options are those of /v1/inpaint, or with `kind=stylize` of /v1/stylize, and hold for
        all. A photograph that is refused is a row with its `problem`; the others are done.
        Each job's image is at its `result`. With an `Idempotency-Key` the same request sent again
        makes no job twice.
        """
        jobs = self._jobs.enabled()
        form = await read_batch_form(request)
        jobs.hooks.check(form.forms[0].webhook)
        key = idempotency_key(request)
        rows, made = [], []
        with jobs.kept():
            for number, (name, each) in enumerate(zip(form.names, form.forms, strict=True)):
                row, job = await self._row(name, each, request, f"{key}#{number}" if key else "")
                rows.append(row)
                made.append(job)
            batch = BatchRecord(
                id=key_digest(key_name_of(request), f"{key}#")[:32] if key else fresh_id(),
                key_name=key_name_of(request),
                request_id=request.state.request_id,
                created=jobs.now(),
                rows=tuple(rows),
            )
            await jobs.keep_batch(batch)
        root_path = request.scope.get("root_path", "")
        return batch_response(batch, made, root_path=root_path, status=202)

    async def show(self, batch_id: str, request: Request) -> Response:
        """Each photograph's job, and how far all of them are.

        Ask again after the seconds of `Retry-After`, which is there until all have ended.
        """
        jobs = self._jobs.enabled()
        with jobs.kept():
            batch = await jobs.batch(batch_id, key_name_of(request))
            found = await asyncio.gather(*(self._find(row, request) for row in batch.rows))
        return batch_response(batch, found, root_path=request.scope.get("root_path", ""))

    async def cancel(self, batch_id: str, request: Request) -> Response:
        """Stop what runs and waits, and delete what was sent and made; also when all is done."""
        jobs = self._jobs.enabled()
        with jobs.kept():
            batch = await jobs.batch(batch_id, key_name_of(request))
            for row in batch.rows:
                job = await self._find(row, request)
                if job is not None and job.state not in ("cancelled", "expired"):
                    await jobs.cancel(row.job)
        return await self.show(batch_id, request)

    async def _row(
        self, name: str, form: JobForm, request: Request, key: str
    ) -> tuple[BatchRow, Job | None]:
        """Whatever is wrong with one photograph is its row's."""
        name = name[:_LONGEST_NAME]
        try:
            job, _ = await self._jobs.make(form, request, key)
        except (InputError, Problem) as error:
            problem = to_problem(error)
            kept = JobProblem(
                status=problem.status, code=problem.code, detail=problem.detail, hint=problem.hint
            )
            return BatchRow(name=name, problem=kept), None
        return BatchRow(name=name, job=job.record.id), job

    async def _find(self, row: BatchRow, request: Request) -> Job | None:
        """A row's job, if it is still known."""
        if not row.job:
            return None
        try:
            return await self._jobs.enabled().find(row.job, key_name_of(request))
        except Problem as problem:
            if problem.status != 404:
                raise
            return None
