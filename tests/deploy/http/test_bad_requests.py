"""The corpus of bad requests: each gets its status and its code, and odd good ones an image."""

import gc
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.deploy.conftest import MASK, PHOTO, encode, post, problem
from tests.deploy.http import bad_files

MakeClient = Callable[..., TestClient]
FORM = {"content-type": "multipart/form-data; boundary=x"}
IMAGE = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
GOOD_PNG = encode(PHOTO)


@pytest.mark.parametrize("kind", bad_files.odd_but_good())
def test_odd_photographs_are_filled(client: TestClient, kind: str) -> None:
    answer = post(client, image=bad_files.odd_but_good()[kind])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", bad_files.masks())
def test_masks_of_every_sort_are_read(client: TestClient, kind: str) -> None:
    answer = post(client, mask=bad_files.masks()[kind])
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("kind", bad_files.other_formats())
def test_other_formats(client: TestClient, kind: str) -> None:
    data = bad_files.other_formats()[kind]
    problem(post(client, image=data), 415, "image_format_not_allowed")


@pytest.mark.parametrize("kind", bad_files.broken_files())
def test_broken_files(client: TestClient, kind: str) -> None:
    problem(post(client, image=bad_files.broken_files()[kind]), 422, "image_undecodable")


@pytest.mark.parametrize("kind", bad_files.bombs())
def test_bombs(client: TestClient, kind: str) -> None:
    problem(post(client, image=bad_files.bombs()[kind]), 422, "image_too_many_pixels")


@pytest.mark.parametrize("kind", bad_files.animated())
def test_animations(client: TestClient, kind: str) -> None:
    answer = post(client, image=bad_files.animated()[kind])
    assert answer.status_code == 200
    assert "frames or pages is used" in answer.headers["x-image-notes"]


def grey_mask(value: int) -> bytes:
    return encode(np.full(MASK.shape, value, np.uint8))


WHITE = MASK.astype(np.uint8) * 255


@pytest.mark.parametrize(
    ("mask", "status", "code"),
    [
        (encode(MASK[:, :-1]), 422, "size_mismatch"),
        (encode(MASK.T), 422, "size_mismatch"),
        (grey_mask(0), 422, "mask_empty"),
        (grey_mask(127), 422, "mask_empty"),
        (grey_mask(128), 422, "mask_full"),
        (grey_mask(255), 422, "mask_full"),
        (GOOD_PNG, 422, "mask_not_gray"),
        (encode(np.dstack([WHITE, 255 - WHITE])), 422, "mask_empty"),
        (b"", 422, "mask_empty_file"),
        (bad_files.other_formats()["ICO"], 415, "mask_format_not_allowed"),
        (bad_files.broken_files()["PNG cut"], 422, "mask_undecodable"),
        (bad_files.bombs()["PNG says 400 MP"], 422, "mask_too_many_pixels"),
        (encode(MASK[:15]), 422, "mask_too_small"),
    ],
)
def test_masks(client: TestClient, mask: bytes, status: int, code: str) -> None:
    problem(post(client, mask=mask), status, code)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"seed": "\u0661\u0662"}, "seed_not_integer"),
        ({"seed": "9" * 27}, "seed_out_of_range"),
        ({"seed": "0x10"}, "seed_not_integer"),
        ({"seed": "3.5"}, "seed_not_integer"),
        ({"quality": "101"}, "quality_out_of_range"),
        ({"feather": "-1"}, "feather_out_of_range"),
        ({"align_colour": "perhaps"}, "align_colour_unknown"),
        ({"format": "PNG"}, "format_unknown"),
        ({"format": "image/png"}, "format_unknown"),
        ({"mask_convention": ""}, "mask_convention_unknown"),
        ({"scales": "17"}, "scales_out_of_range"),
        ({"model": "s3://evil/model"}, "model_unknown"),
        ({"model": "http://169.254.169.254/latest/meta-data"}, "model_unknown"),
        ({"strength": "0.5"}, "unknown_field"),
        ({"": "1"}, "unknown_field"),
        ({"__class__": "1"}, "unknown_field"),
    ],
)
def test_options(client: TestClient, fields: dict[str, str], code: str) -> None:
    document = problem(post(client, fields), 422, code)
    assert document["hint"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n", 400, None),
        (b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\nv\r\n--x--\r\n', 400, None),
        (b"--x\r\nX-Long: " + b"a" * 65536 + b"\r\n\r\nv\r\n--x--\r\n", 400, None),
        (b"--x\r\nContent-Disposition form-data\r\n\r\nv\r\n--x--\r\n", 400, None),
        (b"\0" * 100, 400, None),
        (b'{"image": ""}', 400, None),
        (
            IMAGE.replace(b'"a"', b'"a"\r\nContent-Type: multipart/mixed; boundary=y')
            + b"--y\r\n\r\nv\r\n--y--\r\n--x--\r\n",
            415,
            "image_format_not_allowed",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="seed"\r\n\r\n\xff\xfe\r\n'
            + IMAGE
            + GOOD_PNG
            + b"\r\n--x--\r\n",
            422,
            "seed_not_integer",
        ),
    ],
)
def test_multipart(client: TestClient, body: bytes, status: int, code: str | None) -> None:
    response = client.post("/v1/inpaint", content=body, headers=FORM)
    problem(response, status, code or "multipart_malformed")


# The parser leaves the file of a part that is cut off to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_body_that_is_cut_off(client: TestClient) -> None:
    response = client.post("/v1/inpaint", content=IMAGE + GOOD_PNG[:100], headers=FORM)
    problem(response, 422, "image_missing")
    gc.collect()


@pytest.mark.parametrize(
    "filename",
    ["../../etc/passwd", 'a"; name="mask', "a\x00\x1b[31m", "\u00e9\u4e2d.png", "x" * 999],
)
def test_names_of_files_do_not_matter(client: TestClient, filename: str) -> None:
    files = {"image": (filename, GOOD_PNG, "text/plain"), "mask": (filename, encode(MASK))}
    assert client.post("/v1/inpaint", files=files).status_code == 200


def test_a_hundred_files(client: TestClient) -> None:
    files = [("image", ("a", GOOD_PNG))] * 100
    problem(client.post("/v1/inpaint", files=files), 400, "multipart_malformed")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/stylize", 405),
        ("PUT", "/v1/inpaint", 405),
        ("DELETE", "/v1/models", 405),
        ("OPTIONS", "/v1/inpaint", 405),
        ("TRACE", "/v1/inpaint", 405),
        ("POST", "/healthz", 405),
        ("POST", "/", 405),
        ("GET", "/v1", 404),
        ("GET", "/v1/", 404),
        ("POST", "/V1/inpaint", 404),
        ("POST", "//v1/inpaint", 404),
        ("POST", "/v1/inpaint%00", 404),
        ("POST", "/v2/repository/index", 404),
        ("GET", "/metrics", 404),
        ("GET", "/-/routes", 404),
        ("GET", "/.env", 404),
    ],
)
def test_routes(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, f"http://testserver{path}")
    if path.startswith("/v2"):
        assert (response.status_code, set(response.json())) == (status, {"error"})
    else:
        problem(response, status, "http_error")
    assert ("allow" in response.headers) is (status == 405)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-encoding": "gzip"}, 415, "content_encoding"),
        ({"content-encoding": "br"}, 415, "content_encoding"),
        ({"content-type": "multipart/mixed; boundary=x"}, 415, "content_type"),
        ({"content-type": "application/json-patch+json"}, 415, "content_type"),
        ({"content-type": "\t"}, 415, "content_type"),
        ({"accept": "application/json"}, 406, "not_acceptable"),
        ({"accept": "image/jpeg, image/webp;q=0.9"}, 406, "not_acceptable"),
    ],
)
def test_headers(client: TestClient, headers: dict[str, str], status: int, code: str) -> None:
    request = client.build_request(
        "POST", "/v1/inpaint", files={"image": ("a", GOOD_PNG), "mask": ("b", encode(MASK))}
    )
    request.headers.update(headers)
    problem(client.send(request), status, code)


def test_no_origin_is_invited(client: TestClient) -> None:
    response = client.get("/v1/models", headers={"origin": "https://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_the_pixel_limit_is_exact(make_client: MakeClient) -> None:
    assert post(make_client(max_pixels=80 * 112)).status_code == 200
    wider = encode(np.zeros((80, 113, 3), np.uint8))
    problem(post(make_client(max_pixels=80 * 112), image=wider), 422, "image_too_many_pixels")
