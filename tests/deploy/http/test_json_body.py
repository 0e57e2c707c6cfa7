"""Requests in JSON: the same answers as multipart, and its own ways to be wrong."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.http import json_body
from tests.deploy.conftest import MASK, PHOTO, STYLE, encode, post, post_style, problem

MakeClient = Callable[..., TestClient]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


JSON = "application/json"
FILES = {"image": b64(encode(PHOTO)), "mask": b64(encode(MASK))}


@pytest.mark.slow
def test_json_and_multipart_give_the_same_bytes(client: TestClient) -> None:
    options: dict[str, Any] = {"grow_mask": 4, "align_colour": True, "scales": "auto", "seed": 3}
    answer = client.post("/v1/inpaint", json={**FILES, **options})
    assert answer.status_code == 200, answer.text
    form = {name: str(value).lower() for name, value in options.items()}
    assert answer.content == post(client, form).content
    pair = {"content": b64(encode(PHOTO)), "style": b64(encode(STYLE)), "strength": 1}
    styled = client.post("/v1/stylize", json={**pair, "format": "webp"})
    assert styled.headers["content-type"] == "image/webp"
    assert styled.content == post_style(client, {"format": "webp"}).content


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image": None}, "image_not_base64"),
        ({"image": 7}, "image_not_base64"),
        ({"image": [FILES["image"]]}, "image_not_base64"),
        ({"image": "data:image/png;base64," + FILES["image"]}, "image_not_base64"),
        ({"image": FILES["image"][:40] + "\n" + FILES["image"][40:]}, "image_not_base64"),
        ({"image": FILES["image"].rstrip("=") + "A"}, "image_not_base64"),
        ({"mask": "\xe9\u20ac"}, "mask_not_base64"),
        ({"mask": "-_-_"}, "mask_not_base64"),
        ({"image": ""}, "image_empty_file"),
        ({"seed": "3"}, "seed_not_integer"),
        ({"seed": 3.0}, "seed_not_integer"),
        ({"seed": True}, "seed_not_integer"),
        ({"seed": None}, "seed_not_integer"),
        ({"seed": {"a": [1, 2]}}, "seed_not_integer"),
        ({"seed": -1}, "seed_out_of_range"),
        ({"seed": 2**63}, "seed_out_of_range"),
        ({"align_colour": 1}, "align_colour_unknown"),
        ({"align_colour": "true"}, "align_colour_unknown"),
        ({"format": None}, "format_unknown"),
        ({"format": ["png"]}, "format_unknown"),
        ({"scales": "3"}, "scales_not_integer"),
        ({"strength": 0.5}, "unknown_field"),
    ],
)
def test_wrong_fields_are_named(client: TestClient, fields: dict[str, Any], code: str) -> None:
    document = problem(client.post("/v1/inpaint", json={**FILES, **fields}), 422, code)
    (name,) = fields
    assert name in document["detail"]


def test_numbers_of_a_style_transfer(client: TestClient) -> None:
    pair = {"content": b64(encode(PHOTO)), "style": b64(encode(STYLE))}
    head = {"content-type": "application/json"}
    for value, code in (("1e999", "not_number"), ('"1"', "not_number"), ("2", "out_of_range")):
        body = json.dumps(pair)[:-1] + f', "strength": {value}}}'
        problem(client.post("/v1/stylize", content=body, headers=head), 422, f"strength_{code}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"image"',
        b"null",
        b"{'image': 1}",
        b'{"seed": NaN}',
        b'{"seed": -Infinity}',
        b'{"image": "\xff"}',
        b'{"seed": 1} trailing',
        b'{"seed": ' + b"1" * 5000 + b"}",
        b'{"seed": ' + b"[" * 100_000 + b"}",
        '{"seed": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"seed": 1}',
    ],
)
def test_malformed_json(client: TestClient, body: bytes) -> None:
    head = {"content-type": "application/json"}
    problem(client.post("/v1/inpaint", content=body, headers=head), 400, "json_malformed")


def test_a_deep_value_is_one_that_is_wrong(client: TestClient) -> None:
    # Deeper than what is left of the stack further inside.
    for depth in (500, 900, 930, 960):
        body = b'{"image": "", "seed": ' + b"[" * depth + b"]" * depth + b"}"
        head = {"content-type": "application/json"}
        response = client.post("/v1/inpaint", content=body, headers=head)
        assert response.json()["code"] in ("seed_not_integer", "json_malformed"), depth


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b'{"a":1}', b'""'])
def test_a_million_values_are_not_parsed(
    client: TestClient, value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a hundred bytes of memory, and all of them seconds in which nobody is served."""
    body = b'{"seed":[' + b",".join([value] * 1_000_000) + b"]}"
    with monkeypatch.context() as patch:
        patch.setattr(json_body.json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
        response = client.post("/v1/inpaint", content=body, headers={"content-type": JSON})
    assert "10000 values" in problem(response, 400, "json_malformed")["detail"]


def test_no_name_stands_twice(client: TestClient) -> None:
    head = {"content-type": "application/json; charset=utf-8"}
    for body in (b'{"seed": 1, "seed": 2}', b'{"x": {"a\\u0000": 1, "a\\u0000": 1}}'):
        response = client.post("/v1/inpaint", content=body, headers=head)
        assert "\x00" not in problem(response, 422, "field_repeated")["detail"]


def test_json_has_a_smaller_limit(make_client: MakeClient) -> None:
    client = make_client(max_json_bytes=2000)
    document = problem(client.post("/v1/inpaint", json=FILES), 413, "body_too_large")
    assert "2000" in document["detail"]
    assert "multipart/form-data" in document["hint"]
    head = {"content-type": "Application/JSON"}
    response = client.post("/v1/inpaint", content=iter([b"{" + b" " * 1500] * 2), headers=head)
    problem(response, 413, "body_too_large")
    assert post(client).status_code == 200


def test_openapi_documents_both_bodies(client: TestClient) -> None:
    for path, file in (("/v1/inpaint", "image"), ("/v1/stylize", "content")):
        route = client.get("/openapi.json").json()["paths"][path]["post"]
        form, body = (
            route["requestBody"]["content"][kind]
            for kind in ("multipart/form-data", "application/json")
        )
        assert set(form["schema"]["properties"]) == set(body["schema"]["properties"])
        assert form["schema"]["properties"][file]["format"] == "binary"
        assert body["schema"]["properties"][file]["contentEncoding"] == "base64"
        assert set(body["example"]) <= set(body["schema"]["properties"])
        assert body["example"][file].startswith("iVBOR")
