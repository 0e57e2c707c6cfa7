"""The pages for people at `/` and `/docs`, and their files; knows nothing of how images are made.

All their addresses are relative, so that they work below any path of a proxy.
"""

import os
from os import PathLike, stat_result
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from kintsugi.deploy.http.example_photos import find_samples
from kintsugi.deploy.options import InpaintOptions, page_options
from kintsugi.deploy.settings import AppArgs

WEB = Path(__file__).resolve().parents[1] / "web"

_HEADERS = {
    # Everything from here; photographs that are still only in the browser are blobs.
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; object-src 'none';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # Asked for again each time; a file is answered with 304 while it is the same.
    "cache-control": "no-cache",
}


def add_page(app: FastAPI, args: AppArgs) -> None:
    """Serve the pages, their files and the sample photographs.

    Args:
        app: Whose routes are added to; none of them is part of the API's documentation.
        args: Limits that the page shows before anything is sent.
    """
    samples = find_samples()
    settings = {
        "samples": [
            {"name": sample.name, "title": sample.title, "url": f"web/samples/{sample.name}"}
            for sample in samples.values()
        ],
        **page_options(InpaintOptions),
        "max_bytes": args.max_bytes,
        "max_pixels": args.max_pixels,
        "max_stylize_pixels": args.max_stylize_pixels,
        "jobs": bool(args.jobs),
    }

    files = _PageFiles(directory=WEB)

    async def page(request: Request) -> Response:
        return files.answer(WEB / "index.html", request)

    async def documentation(request: Request) -> Response:
        return files.answer(WEB / "docs" / "index.html", request)

    async def page_settings(request: Request) -> Response:
        return JSONResponse(settings, headers=_HEADERS)

    async def sample_photo(request: Request) -> Response:
        sample = samples.get(request.path_params["name"])
        if sample is None:
            raise HTTPException(404)
        return files.answer(sample.file, request)

    app.add_route("/", page, include_in_schema=False)
    app.add_route("/docs", documentation, include_in_schema=False)
    app.add_route("/web/settings.json", page_settings, include_in_schema=False)
    app.add_route("/web/samples/{name}", sample_photo, include_in_schema=False)
    app.mount("/web", files)


class _PageFiles(StaticFiles):
    """Files with the page's headers, and 304 for what the browser has."""

    def answer(self, file: Path, request: Request) -> Response:
        """One file, in whatever folder it lies."""
        return self.file_response(file, os.stat(file), request.scope)

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response
