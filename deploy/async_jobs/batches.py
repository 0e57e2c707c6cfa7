"""`/v1/batches`: photographs that are sent together, each a job of its own; runs nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response

from kintsugi.deploy.async_jobs.documents import BatchDocument, batch_response
from kintsugi.deploy.async_jobs.forms import (
    MOST_AT_ONCE,
    BatchForm,
    JobForm,
    batch_schema,
    read_batch_form,
)
from kintsugi.deploy.async_jobs.records import (
    BatchRecord,
    BatchRow,
    Job,
    JobProblem,
    JobRecord,
    fresh_id,
    key_digest,
)
from kintsugi.deploy.async_jobs.routes import (
    IDEMPOTENCY_PARAMETER,
    JobRoutes,
    idempotency_key,
    key_name_of,
    new_record,
    problems,
)
from kintsugi.deploy.http.auth import count_images
from kintsugi.deploy.http.problems import Problem, to_problem
from kintsugi.errors import InputError

_LONGEST_NAME = 255
# Of one batch; fewer than the threads of all who ask.
_LOOKS_AT_ONCE = 4


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
        makes no job twice, and another one is refused. When too many jobs wait for all of
        them to be taken, none is: 503 `jobs_full`. In the rate of a key each photograph counts
        as a request.
        """
        jobs = self._jobs.enabled()
        form = await read_batch_form(request)
        jobs.hooks.check(form.forms[0].webhook)
        key, now = idempotency_key(request), jobs.now()
        records = [
            new_record(each, request, now, f"{key}#{number}" if key else "")
            for number, each in enumerate(form.forms)
        ]
        batch = BatchRecord(
            id=key_digest(key_name_of(request), f"{key}#")[:32] if key else fresh_id(),
            key_name=key_name_of(request),
            request_id=request.state.request_id,
            created=now,
            rows=tuple(
                BatchRow(name=name[:_LONGEST_NAME], job=record.id)
                for name, record in zip(form.names, records, strict=True)
            ),
        )
        with jobs.kept():
            async with self._jobs.lock(batch.id):
                batch = await self._take(batch, form, records, request, is_keyed=bool(key))
            found = await self._found(batch, request)
        root_path = request.scope.get("root_path", "")
        return batch_response(batch, found, root_path=root_path, status=202)

    async def show(self, batch_id: str, request: Request) -> Response:
        """Each photograph's job, and how far all of them are.

        Ask again after the seconds of `Retry-After`, which is there until all have ended.
        """
        jobs = self._jobs.enabled()
        with jobs.kept():
            batch = await jobs.batch(batch_id, key_name_of(request))
            found = await self._found(batch, request)
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

    async def _take(
        self,
        batch: BatchRecord,
        form: BatchForm,
        records: Sequence[JobRecord],
        request: Request,
        *,
        is_keyed: bool,
    ) -> BatchRecord:
        """Take those of a batch's jobs that are not there yet.

        Returns: the batch as it is kept now; the one from before where nothing is new.
        """
        jobs = self._jobs.enabled()
        before = await jobs.batch_before(batch) if is_keyed else None
        known: Sequence[Job | None] = [None] * len(records)
        if is_keyed:
            known = await _few_at_once(partial(jobs.unexpired, row.job) for row in batch.rows)
        # Before files are opened for nothing.
        unknown = sum(job is None for job in known)
        jobs.runner.check_room(batch.key_name, unknown)
        # One request at least.
        count_images(request, max(1, unknown))
        rows, new = [], []
        for row, record, each, job in zip(batch.rows, records, form.forms, known, strict=True):
            problem = await self._problem(each) if job is None else None
            rows.append(row.model_copy(update={"problem": problem}))
            if job is None and problem is None:
                new.append((record, each.files))
        if before is not None and not new:
            return before
        if is_keyed:
            # Another service may have got another request with this key meanwhile.
            await jobs.batch_before(batch)
        batch = batch.model_copy(update={"rows": tuple(rows)})
        await jobs.submit(new, batch, is_keyed=is_keyed)
        return batch

    async def _found(self, batch: BatchRecord, request: Request) -> Sequence[Job | None]:
        return await _few_at_once(partial(self._find, row, request) for row in batch.rows)

    async def _problem(self, form: JobForm) -> JobProblem | None:
        """Whatever is wrong with one photograph is its row's."""
        try:
            await self._jobs.enabled().work.check(form.form)
        except (InputError, Problem) as error:
            problem = to_problem(error)
            return JobProblem(
                status=problem.status, code=problem.code, detail=problem.detail, hint=problem.hint
            )
        return None

    async def _find(self, row: BatchRow, request: Request) -> Job | None:
        """A row's job, if it is still known."""
        if row.problem is not None:
            return None
        try:
            return await self._jobs.enabled().find(row.job, key_name_of(request))
        except Problem as problem:
            if problem.status != 404:
                raise
            return None


async def _few_at_once(asks: Iterable[Callable[[], Awaitable[Job | None]]]) -> list[Job | None]:
    """The answers in their order. All at once they would count as late while they wait in line."""
    free = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def ask_in_turn(ask: Callable[[], Awaitable[Job | None]]) -> Job | None:
        async with free:
            return await ask()

    return await asyncio.gather(*(ask_in_turn(ask) for ask in asks))
