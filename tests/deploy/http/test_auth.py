"""API keys and rates: who is let in, before anything of the body is read."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from kintsugi.deploy.http.auth import RateLimit, Taken
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import ConfigError
from tests.deploy.conftest import post, problem

MakeClient = Callable[..., TestClient]
KEYS = """# of the shop, old and new
shop: aaaa-1111-aaaa-1111
shop: aaaa-2222-aaaa-2222

bbbb-3333-bbbb-3333
"""


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(KEYS)
    return path


def test_a_file_that_is_not_there_is_an_error_at_the_start(make_client: MakeClient) -> None:
    with pytest.raises(ConfigError, match="nowhere cannot be read"):
        make_client(api_keys="/nowhere")


def test_a_key_that_has_expired_says_so(make_client: MakeClient, key_file: Path) -> None:
    key_file.write_text("shop: aaaa-1111-aaaa-1111 expires=2020-01-31\n")
    client = make_client(api_keys=str(key_file))
    client.headers["x-api-key"] = "aaaa-1111-aaaa-1111"
    assert "stays yours" in problem(post(client), 403, "key_expired")["hint"]


def test_missing_and_wrong_keys(make_client: MakeClient, key_file: Path) -> None:
    client = make_client(api_keys=str(key_file))
    response = post(client)
    assert "x-api-key" in problem(response, 401, "key_missing")["hint"]
    assert response.headers["www-authenticate"].startswith("ApiKey ")
    client.headers["x-api-key"] = "aaaa-1111-aaaa-1112"
    assert "aaaa" not in problem(post(client), 403, "key_wrong")["detail"]
    client.headers["x-api-key"] = "bbbb-3333-bbbb-3333"
    assert post(client).status_code == 200


def test_every_route_of_the_api_asks_for_a_key_and_the_rest_stays_open(
    make_client: MakeClient, key_file: Path
) -> None:
    client = make_client(api_keys=str(key_file))
    document = client.get("/openapi.json").json()
    guarded = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            status = client.request(method.upper(), path).status_code
            is_open = path in ("/healthz", "/readyz") or path.startswith("/v2/health/")
            assert (status == 401) is not is_open, (method, path)
            assert ("security" in operation) is not is_open, (method, path)
            guarded += not is_open
    assert guarded >= 3
    assert document["components"]["securitySchemes"]["APIKeyHeader"]["name"] == "x-api-key"
    for path in ("/", "/web/main.js", "/web/settings.json"):
        assert client.get(path).status_code == 200


def test_without_a_file_of_keys_nobody_is_asked(client: TestClient) -> None:
    assert "securitySchemes" not in json.dumps(client.get("/openapi.json").json())
    assert client.get("/v1/models").status_code == 200


def test_a_key_is_checked_before_the_body_is_read(make_client: MakeClient, key_file: Path) -> None:
    app = make_client(api_keys=str(key_file)).app
    sent = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    for kind in (b"multipart/form-data; boundary=x", b"application/json"):
        headers = [(b"content-length", b"1000"), (b"content-type", kind)]
        scope = {"type": "http", "method": "POST", "path": "/v1/inpaint", "headers": headers}
        asyncio.run(app({**scope, "query_string": b"", "state": {}}, receive, send))  # type: ignore[arg-type]
    assert [each["status"] for each in sent if "status" in each] == [401, 401]


def test_a_rate_comes_back_with_time() -> None:
    now = 0.0
    rate = RateLimit(30, 2, clock=lambda: now)
    assert [rate.take("a"), rate.take("a")] == [0, 0]
    assert rate.take("a") == pytest.approx(2)
    assert rate.take("b") == 0
    now = 1.5
    assert rate.take("a") == pytest.approx(0.5)
    now = 2.0
    assert rate.take("a") == 0
    assert rate.take("a") == pytest.approx(2)
    now = 1000.0
    assert [rate.take("a") for _ in range(3)] == [0, 0, pytest.approx(2)]


def test_what_was_charged_is_waited_for_and_what_is_given_back_is_there() -> None:
    now = 0.0
    rate = RateLimit(60, 2, clock=lambda: now)
    assert rate.take("a") == 0
    taken = Taken(rate, "a")
    taken.count(5)
    # Two were there, and five are taken.
    assert rate.take("a") == pytest.approx(4)
    now = 3.0
    assert rate.take("a") == pytest.approx(1)
    taken.give_back()
    taken.give_back()
    assert [rate.take("a") for _ in range(3)] == [0, 0, pytest.approx(1)]


def test_too_many_requests_of_one_name(make_client: MakeClient, key_file: Path) -> None:
    client = make_client(api_keys=str(key_file), requests_per_minute=0.5, burst=2)
    for key in ("aaaa-1111-aaaa-1111", "aaaa-2222-aaaa-2222"):
        assert client.post("/v1/inpaint", headers={"x-api-key": key}).status_code == 415
    response = client.post("/v1/inpaint", headers={"x-api-key": "aaaa-1111-aaaa-1111"})
    assert "in 120 seconds" in problem(response, 429, "rate_limited")["hint"]
    assert response.headers["retry-after"] == "120"
    # Who asks what there is, and others, go on.
    assert client.get("/v1/models", headers={"x-api-key": "aaaa-1111-aaaa-1111"}).status_code == 200
    assert (
        client.post("/v1/inpaint", headers={"x-api-key": "bbbb-3333-bbbb-3333"}).status_code == 415
    )


def test_a_rate_without_keys_is_refused() -> None:
    with pytest.raises(ValidationError, match="requests_per_minute=5 is for each API key"):
        AppArgs(release="x", requests_per_minute=5)


@pytest.mark.parametrize("other", [{"batch_pixels": 65536}, {"device": "cuda"}])
def test_threads_are_shared_on_cpus_alone(other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="share_threads computes side by side on CPUs"):
        AppArgs(release="x", share_threads=True, **other)


def test_the_log_names_the_key_and_no_content(
    make_client: MakeClient, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(api_keys=str(key_file))
    client.headers["x-api-key"] = "aaaa-2222-aaaa-2222"
    with caplog.at_level(logging.INFO, "kintsugi.access"):
        sent = post(client, {"grow_mask": "3"})
        refused = client.post("/v1/stylize", content=b"x" * 7)
        client.get("/v1/nothing/secret")
        for unlogged in ("/healthz", "/", "/web/settings.json", "/v2/health/live"):
            client.get(unlogged)
    fill, wrong, nowhere = (record.access for record in caplog.records)  # type: ignore[attr-defined]
    assert fill == {
        "request_id": sent.headers["x-request-id"],
        "method": "POST",
        "route": "/v1/inpaint",
        "status": 200,
        "code": "ok",
        "seconds": fill["seconds"],
        "bytes_in": int(sent.request.headers["content-length"]),
        "bytes_out": len(sent.content),
        "megapixels": 0.009,
        "key": "shop",
        "model": "tiny-random@sha256:0123456789ab",
    }
    assert fill["seconds"] > 0
    assert (wrong["status"], wrong["code"], wrong["route"]) == (415, "content_type", "/v1/stylize")
    assert (wrong["megapixels"], wrong["model"]) == (None, "")
    assert wrong["bytes_out"] == len(refused.content)
    assert (nowhere["status"], nowhere["route"]) == (404, None)
    logged = caplog.text + str([record.access for record in caplog.records])  # type: ignore[attr-defined]
    for secret in ("aaaa", "image.bin", "secret"):
        assert secret not in logged


def test_the_edge_asks_whether_a_key_holds(make_client: MakeClient, key_file: Path) -> None:
    client = make_client(api_keys=str(key_file), requests_per_minute=1, burst=1)
    problem(client.get("/keyz"), 401, "key_missing")
    problem(client.get("/keyz", headers={"x-api-key": "aaaa-1111-aaaa-1112"}), 403, "key_wrong")
    for _ in range(3):
        good = client.get("/keyz", headers={"x-api-key": "aaaa-1111-aaaa-1111"})
        assert (good.status_code, good.content) == (204, b"")
    assert make_client().get("/keyz").status_code == 204
