"""Errors as HTTP answers: RFC 9457 problem documents; the one place that maps them.

No document holds a stack trace, a path or the name of a library.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from kintsugi.deploy.engine import Busy, NodeGone, ReleaseUnreadable, Stopping, WorkerDied
from kintsugi.deploy.http.access_log import api_path
from kintsugi.errors import InputError, InvalidInput, TooLarge, UnsupportedFormat

MEDIA_TYPE = "application/problem+json"
_INPUT_STATUS = {TooLarge: 413, UnsupportedFormat: 415, InvalidInput: 422}


class ProblemDocument(BaseModel):
    """What the body of every error holds."""

    type: str = Field(description="URI of the kind of problem, made from its code")
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="what is wrong, with the value and the limit")
    code: str = Field(description="stable and machine-readable, such as mask_empty")
    request_id: str = Field(description="names this request in the logs")
    hint: str = Field(description="what to do about it")


class Problem(Exception):
    """An error of the HTTP interface itself."""

    def __init__(
        self,
        status: int,
        code: str,
        *,
        detail: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})


def to_problem(error: Exception, request: Request | None = None) -> Problem:
    """Map an error to its answer; what is not known here is a bug and says nothing.

    Args:
        error: What was raised.
        request: While which; None outside of one.
    """
    match error:
        case Problem():
            return error
        case InputError():
            status = next(code for kind, code in _INPUT_STATUS.items() if isinstance(error, kind))
            return Problem(status, error.code, detail=str(error), hint=error.hint)
        case NodeGone():
            return _later(
                "node_gone", f"a part of the service is being replaced: {error}", error.retry_after
            )
        case ReleaseUnreadable():
            return _later("release_unreadable", str(error), error.retry_after)
        case Stopping():
            return _later(
                "stopping",
                f"{error}: what it has begun is answered, and nothing else",
                error.retry_after,
            )
        case Busy():
            return _later("busy", "no worker is free for it now", error.retry_after)
        case WorkerDied():
            return Problem(
                500,
                "worker_died",
                detail="who computed it stopped without an answer, more than once",
                hint="send it once more; if that fails as well, report the request_id",
            )
        case HTTPException() if request is not None:
            return _http_problem(error, request.app.routes)
        case _:
            return Problem(
                500,
                "internal_error",
                detail="something failed that should not have",
                hint="report the request_id",
            )


def _later(code: str, detail: str, seconds: int) -> Problem:
    """A 503 that says when to come again."""
    return Problem(
        503,
        code,
        detail=detail,
        hint=f"send the same request again in {seconds} seconds",
        headers={"retry-after": str(seconds)},
    )


def problem_response(error: Exception, request: Request) -> Response:
    """Answer ``request`` with the problem document of ``error``; below /v2 in KServe's form."""
    problem = to_problem(error, request)
    request.state.record.outcome = problem.code
    if api_path(request.scope).startswith("/v2"):
        # KServe's protocol has its own form of an error.
        return JSONResponse(
            {"error": f"{problem.detail}: {problem.hint}" if problem.hint else problem.detail},
            status_code=problem.status,
            headers=problem.headers,
        )
    document = problem_document(problem, request.state.request_id)
    return Response(
        document.model_dump_json(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def problem_document(problem: Problem, request_id: str) -> ProblemDocument:
    """What is said of a problem with the request of this id."""
    return ProblemDocument(
        type=f"urn:kintsugi:problem:{problem.code}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        request_id=request_id,
        hint=problem.hint,
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: that a route may answer with problem documents of these statuses."""
    problem = {"content": {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}}
    return {status: {"description": HTTPStatus(status).phrase, **problem} for status in statuses}


def _http_problem(error: HTTPException, routes: Sequence[BaseRoute]) -> Problem:
    """What the router refused: nothing is there, or not for this method."""
    known = [
        f"{method} {route.path}"
        for route in routes
        # What is not documented, such as the page's own files, is no part of the API.
        if isinstance(route, Route) and route.include_in_schema
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]
    allowed = Headers(error.headers).get("allow")
    return Problem(
        error.status_code,
        "http_error",
        detail=HTTPStatus(error.status_code).phrase,
        hint=f"use {allowed}" if allowed else f"use one of {', '.join(known)}",
        headers=error.headers,
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Answer with problem documents whatever a route raises that is no bug."""

    async def answer(request: Request, error: Exception) -> Response:
        return problem_response(error, request)

    for kind in (Problem, InputError, Busy, WorkerDied, HTTPException):
        app.add_exception_handler(kind, answer)
