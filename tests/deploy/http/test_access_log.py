"""The access log as Serve writes it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from ray._common.formatters import JSONFormatter

from kintsugi.deploy.http.access_log import access_logger, log_access_to
from tests.deploy.http.test_auth import MakeClient


@pytest.fixture
def serve_logger() -> Iterator[logging.Logger]:
    """A logger of its own; the access log is as it was afterwards."""
    before = (access_logger.handlers, access_logger.propagate, access_logger.level)
    yield logging.Logger("serve")
    access_logger.handlers, access_logger.propagate, level = before
    access_logger.setLevel(level)


def test_a_line_is_one_object_with_the_requests_fields(
    make_client: MakeClient, serve_logger: logging.Logger
) -> None:
    log_access_to(serve_logger)
    # Serve sets its logger up again when its configuration changes.
    serve_logger.handlers.clear()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    serve_logger.addHandler(handler)

    make_client().get("/v1/models", headers={"x-request-id": "r-1"})

    (line,) = stream.getvalue().splitlines()
    written = json.loads(line)
    assert written["message"] == "GET /v1/models 200 ok"
    assert written["access"]["request_id"] == "r-1"
    assert written["access"]["route"] == "/v1/models"
