"""Bad files, forms and options: each is refused by name."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.deploy.conftest import MASK, PHOTO, STYLE, encode, post, post_style, problem

MakeClient = Callable[..., TestClient]


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ({"image": b"GIF90a" + bytes(100)}, 415, "image_format_not_allowed"),
        ({"image": b""}, 422, "image_empty_file"),
        ({"image": encode(PHOTO)[:-40]}, 422, "image_undecodable"),
        ({"mask": b"not an image"}, 415, "mask_format_not_allowed"),
        ({"mask": encode(PHOTO)}, 422, "mask_not_gray"),
        ({"mask": encode(MASK[:60])}, 422, "size_mismatch"),
        ({"mask": encode(np.zeros_like(MASK))}, 422, "mask_empty"),
        ({"mask": encode(np.ones_like(MASK))}, 422, "mask_full"),
        ({"image": encode(PHOTO[:15])}, 422, "image_too_small"),
    ],
)
def test_bad_files(client: TestClient, files: dict[str, bytes], status: int, code: str) -> None:
    problem(post(client, None, **files), status, code)


def test_sizes_that_differ_are_both_named(client: TestClient) -> None:
    document = problem(post(client, mask=encode(MASK[:60])), 422, "size_mismatch")
    assert "112x60" in document["detail"]
    assert "112x80" in document["detail"]


def test_a_mask_that_is_full_once_grown(client: TestClient) -> None:
    mask = np.ones_like(MASK)
    mask[:20, :20] = False
    response = post(client, mask=encode(mask), fields={"grow_mask": "64"})
    assert "growing it by 64" in problem(response, 422, "options_do_not_fit")["detail"]


def test_too_many_scales_for_the_size(client: TestClient) -> None:
    document = problem(post(client, fields={"scales": "9"}), 422, "options_do_not_fit")
    assert "at most" in document["detail"]


def test_too_many_pixels(make_client: MakeClient) -> None:
    client = make_client(max_pixels=80 * 112 - 1)
    problem(post(client), 422, "image_too_many_pixels")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"seed": "-1"}, "seed_out_of_range"),
        ({"seed": "1e3"}, "seed_not_integer"),
        ({"seed": "NaN"}, "seed_not_integer"),
        ({"seed": "9223372036854775808"}, "seed_out_of_range"),
        ({"seed": ""}, "seed_not_integer"),
        ({"grow_mask": "65"}, "grow_mask_out_of_range"),
        ({"feather": "0x10"}, "feather_not_integer"),
        ({"quality": "0"}, "quality_out_of_range"),
        ({"format": "psd"}, "format_unknown"),
        ({"mask_convention": "grey"}, "mask_convention_unknown"),
        ({"scales": "0"}, "scales_out_of_range"),
        ({"scales": "many"}, "scales_not_integer"),
        ({"steps": "3"}, "unknown_field"),
        ({"model": "../../etc/passwd"}, "model_unknown"),
    ],
)
def test_bad_options_are_named(client: TestClient, fields: dict[str, str], code: str) -> None:
    document = problem(post(client, fields=fields), 422, code)
    (name,) = fields
    assert name in document["detail"]


def test_errors_do_not_echo_what_was_sent(client: TestClient) -> None:
    document = problem(
        post(client, fields={"seed": "9\r\n\x1b[31m" + "x" * 999}), 422, "seed_not_integer"
    )
    assert "xxxxxxxxxx" * 5 not in json.dumps(document)
    assert "\x1b" not in document["detail"]


def test_missing_repeated_and_misplaced_fields(client: TestClient) -> None:
    image, mask = ("a", encode(PHOTO)), ("b", encode(MASK))
    cases: list[tuple[Any, Any, str]] = [
        ([("mask", mask)], {}, "image_missing"),
        ([("image", image)], {}, "mask_missing"),
        ([("image", image), ("image", image)], {}, "image_repeated"),
        ([("image", image), ("mask", mask)], {"seed": ["1", "2"]}, "seed_repeated"),
        ([("mask", mask)], {"image": "text"}, "image_not_file"),
        ([("image", image), ("seed", mask)], {}, "mask_missing"),
    ]
    for files, fields, code in cases[:-1]:
        problem(client.post("/v1/inpaint", files=files, data=fields), 422, code)
    files, fields, _ = cases[-1]
    problem(client.post("/v1/inpaint", files=files, data=fields), 422, "seed_not_text")


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        (None, "content_type"),
        ("text/json", "content_type"),
        ("application/x-www-form-urlencoded", "content_type"),
        ("image/png", "content_type"),
    ],
)
def test_other_bodies(client: TestClient, content_type: str | None, code: str) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    problem(client.post("/v1/inpaint", content=b"x", headers=headers), 415, code)


def test_compressed_bodies_and_unwanted_answers(client: TestClient) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    response = client.post("/v1/inpaint", headers={**form, "content-encoding": "gzip"})
    problem(response, 415, "content_encoding")
    files = {"image": ("a", encode(PHOTO)), "mask": ("b", encode(MASK))}
    response = client.post("/v1/inpaint", files=files, headers={"accept": "text/html"})
    problem(response, 406, "not_acceptable")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("multipart/form-data", b"", 400, "multipart_malformed"),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n", 400, "multipart_malformed"),
        ("multipart/form-data; boundary=x", b"", 422, "image_missing"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422, "image_missing"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nv\r\n--x--", 400, "multipart_malformed"),
    ],
)
def test_malformed_multipart(
    client: TestClient, content_type: str, body: bytes, status: int, code: str
) -> None:
    headers = {"content-type": content_type}
    problem(client.post("/v1/inpaint", content=body, headers=headers), status, code)


def test_too_many_parts_and_too_long_texts(client: TestClient) -> None:
    file = ("a", encode(PHOTO))
    for files, fields in (
        ([("image", file), ("mask", file), ("seed", file)], {}),
        ([("image", file)], {f"f{k}": "1" for k in range(1000)}),
        ([("image", file)], {"seed": "1" * 1_000_000}),
    ):
        response = client.post("/v1/inpaint", files=files, data=fields)
        problem(response, 400, "multipart_malformed")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"strength": "1.01"}, "strength_out_of_range"),
        ({"strength": "-0.1"}, "strength_out_of_range"),
        ({"strength": "nan"}, "strength_not_number"),
        ({"strength": "inf"}, "strength_not_number"),
        ({"strength": "much"}, "strength_not_number"),
        ({"strength": ""}, "strength_not_number"),
        ({"seed": "-1"}, "seed_out_of_range"),
        ({"format": "psd"}, "format_unknown"),
        ({"feather": "3"}, "unknown_field"),
        ({"mask": "3"}, "unknown_field"),
    ],
)
def test_bad_options_of_a_style_transfer_are_named(
    client: TestClient, fields: dict[str, str], code: str
) -> None:
    document = problem(post_style(client, fields), 422, code)
    (name,) = fields
    assert name in document["detail"]
    if code != "unknown_field":
        assert document["hint"].startswith(name)


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ({"content": b"GIF90a" + bytes(100)}, 415, "content_format_not_allowed"),
        ({"content": b""}, 422, "content_empty_file"),
        ({"style": b"no image"}, 415, "style_format_not_allowed"),
        ({"style": encode(STYLE)[:-40]}, 422, "style_undecodable"),
        ({"style": encode(STYLE[:15])}, 422, "style_too_small"),
    ],
)
def test_bad_files_of_a_style_transfer(
    client: TestClient, files: dict[str, bytes], status: int, code: str
) -> None:
    problem(post_style(client, None, **files), status, code)


def test_a_style_transfer_has_the_limits_of_a_fill(make_client: MakeClient) -> None:
    problem(post_style(make_client(max_pixels=80 * 112 - 1)), 422, "content_too_many_pixels")
    large_style = encode(np.zeros((90, 112, 3), np.uint8))
    client = make_client(max_pixels=80 * 112)
    problem(post_style(client, style=large_style), 422, "style_too_many_pixels")
    problem(post_style(make_client(max_bytes=1000)), 413, "body_too_large")


def test_the_content_of_a_style_transfer_is_limited_before_anything_is_computed(
    make_client: MakeClient,
) -> None:
    # An engine that nothing reaches.
    client = make_client(object(), max_stylize_pixels=80 * 112 - 1)
    document = problem(post_style(client), 422, "content_too_large")
    assert "112x80 = 8960 px" in document["detail"]
    assert "8959" in document["detail"]
    assert "smaller" in document["hint"]
    large_style = encode(np.zeros((90, 112, 3), np.uint8))
    client = make_client(max_stylize_pixels=80 * 112)
    assert post_style(client, style=large_style).status_code == 200


def test_both_files_of_a_style_transfer_are_needed(client: TestClient) -> None:
    for name, other in (("content", "style"), ("style", "content")):
        response = client.post("/v1/stylize", files={other: ("a", encode(STYLE))})
        assert name in problem(response, 422, f"{name}_missing")["hint"]
    response = client.post("/v1/stylize", content=b"x")
    assert "content and style" in problem(response, 415, "content_type")["hint"]


@pytest.mark.parametrize("path", ["/v1/inpaint", "/v1/stylize"])
def test_options_in_the_query_string_are_refused_by_name(client: TestClient, path: str) -> None:
    files = {"image": ("a", encode(PHOTO)), "mask": ("b", encode(MASK))}
    response = client.post(f"{path}?format=jpeg", files=files)
    document = problem(response, 422, "option_in_query")
    assert "format" in document["detail"]
    assert "field of the form" in document["hint"]
