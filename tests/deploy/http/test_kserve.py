"""KServe V2: with NVIDIA's client over a socket, and bodies that no client would send."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.deploy.conftest import MASK, MODEL, PHOTO, decode, encode, post
from tests.http_server import serving

MakeClient = Callable[..., TestClient]
INFER = f"/v2/models/{MODEL.name}/infer"
VERSION = "0123456789ab"


@pytest.fixture
def triton() -> Any:
    return pytest.importorskip("tritonclient.http", reason="the extra dev is not installed")


@pytest.fixture
def service(make_client: MakeClient, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "keys").write_text("shop: secret-key-123456")
    with serving(make_client(api_keys=str(tmp_path / "keys")).app) as url:
        yield url.removeprefix("http://")


def tensor(triton: Any, name: str, data: bytes, *, binary: bool = True) -> Any:
    made = triton.InferInput(name, [1], "BYTES")
    element = data if binary else base64.b64encode(data)
    made.set_data_from_numpy(np.array([element], dtype=np.object_), binary_data=binary)
    return made


def test_a_client_of_somebody_else_finds_its_way(triton: Any, service: str) -> None:
    key = {"x-api-key": "secret-key-123456"}
    client = triton.InferenceServerClient(service)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata(headers=key)["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready(MODEL.name, headers=key)
    assert client.is_model_ready(MODEL.name, VERSION, headers=key)
    assert not client.is_model_ready("other", headers=key)
    metadata = client.get_model_metadata(MODEL.name, headers=key)
    assert metadata["versions"] == [VERSION]
    assert [each["name"] for each in metadata["inputs"]] == ["image", "mask"]
    assert metadata["outputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    client.close()


@pytest.mark.slow
def test_it_gets_a_filled_image(triton: Any, service: str, client: TestClient) -> None:
    expected = post(client, {"grow_mask": "4"}).content
    theirs = triton.InferenceServerClient(service)
    for sent, answered in ((True, True), (False, False), (True, False), (False, True)):
        result = theirs.infer(
            MODEL.name,
            [
                tensor(triton, "image", encode(PHOTO), binary=sent),
                tensor(triton, "mask", encode(MASK), binary=sent),
            ],
            outputs=[triton.InferRequestedOutput("image", binary_data=answered)],
            request_id="r-1",
            parameters={"grow_mask": 4},
            headers={"x-api-key": "secret-key-123456"},
        )
        (image,) = result.as_numpy("image")
        data = image if answered else base64.b64decode(image)
        assert data == expected
        response = result.get_response()
        assert (response["model_name"], response["model_version"]) == (MODEL.name, VERSION)
        assert response["id"] == "r-1"
    # Without a word about outputs they are asked for as binary data.
    files = [tensor(triton, "image", encode(PHOTO)), tensor(triton, "mask", encode(MASK))]
    result = theirs.infer(MODEL.name, files, headers={"x-api-key": "secret-key-123456"})
    answer = decode(result.as_numpy("image")[0])
    np.testing.assert_array_equal(answer[~MASK], PHOTO[~MASK])
    theirs.close()


def test_it_understands_refusals(triton: Any, service: str) -> None:
    client = triton.InferenceServerClient(service)
    files = [tensor(triton, "image", encode(PHOTO)), tensor(triton, "mask", encode(MASK[:60]))]
    key = {"x-api-key": "secret-key-123456"}
    for model, headers, parameters, status, said in (
        (MODEL.name, {}, {}, "401", "asks for an API key"),
        (MODEL.name, {"x-api-key": "x"}, {}, "403", "not one of the service's"),
        ("other", key, {}, "404", "use tiny-random"),
        (MODEL.name, key, {}, "422", "the mask is 112x60 px but the image is 112x80"),
        (MODEL.name, key, {"feather": 65}, "422", "feather: 0 to 64 pixels"),
        (MODEL.name, key, {"steps": 3}, "422", "use only"),
    ):
        with pytest.raises(triton._utils.InferenceServerException) as caught:
            client.infer(model, files, headers=headers, parameters=parameters)
        assert caught.value.status() == status
        assert said in caught.value.message()
    client.close()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def an_input(name: str, **changes: Any) -> dict[str, Any]:
    data = {"image": encode(PHOTO), "mask": encode(MASK)}.get(name, b"x")
    return {"name": name, "shape": [1], "datatype": "BYTES", "data": [b64(data)], **changes}


GOOD = [an_input("image"), an_input("mask")]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "inputs is missing"),
        ({"inputs": {}}, 400, "inputs is missing or of another type"),
        ({"inputs": [{"name": "image"}]}, 400, "inputs.0.shape is missing"),
        ({"inputs": [an_input("image", shape=["1"])]}, 400, "inputs.0.shape.0"),
        ({"inputs": []}, 422, "no image"),
        ({"inputs": [an_input("image")]}, 422, "no mask"),
        ({"inputs": [an_input("photo")]}, 422, "'photo' is not a field"),
        ({"inputs": [*GOOD, GOOD[0]]}, 422, "image was sent more than once"),
        ({"inputs": [an_input("image", shape=[2])]}, 422, "shape [1]"),
        ({"inputs": [an_input("image", datatype="UINT8")]}, 422, "datatype BYTES"),
        ({"inputs": [an_input("image", data=[])]}, 400, "not one element"),
        ({"inputs": [an_input("image", data=None)]}, 400, "not one element"),
        ({"inputs": [an_input("image", data=["a", "b"])]}, 400, "not one element"),
        ({"inputs": [an_input("image", data=["?"])]}, 422, "not a string in base64"),
        ({"inputs": [an_input("image", data=[7])]}, 422, "not a string in base64"),
        ({"inputs": [an_input("image", data=[b64(b"GIF90a")]), GOOD[1]]}, 415, "none of PNG"),
        (
            {"inputs": [an_input("image", parameters={"binary_data_size": 9})]},
            400,
            "no length within the body",
        ),
        ({"inputs": GOOD, "outputs": [{"name": "mask"}]}, 422, "'mask' is not a field"),
        ({"inputs": GOOD, "parameters": {"seed": "1"}}, 422, "seed: whole number"),
        ({"inputs": GOOD, "parameters": []}, 400, "parameters is missing or of another type"),
        ({"inputs": GOOD, "id": 7}, 400, "id is missing or of another type"),
    ],
)
def test_bodies_that_are_wrong(
    client: TestClient, body: dict[str, Any], status: int, said: str
) -> None:
    refused(client.post(INFER, json=body), status, said)


def refused(response: Any, status: int, said: str) -> None:
    assert response.status_code == status, response.text
    (error,) = response.json().values()
    assert set(response.json()) == {"error"}
    assert said in error
    assert "pydantic" not in error


def binary_body(size: int | None = None, length: int | None = None, tail: bytes = b"") -> Any:
    """Head, and body with the image behind it."""
    image = encode(PHOTO)
    parameters = {"binary_data_size": 4 + len(image) if size is None else size}
    inputs = [an_input("image", data=None, parameters=parameters), GOOD[1]]
    head = json.dumps({"inputs": inputs}).encode()
    element = (len(image) if length is None else length).to_bytes(4, "little") + image
    return head, head + element + tail


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 3}, "no length within the body"),
        ({"size": 10**9}, "no length within the body"),
        ({"size": True}, "no length within the body"),
        ({"length": 2**32 - 1}, "not as long as it says"),
        ({"tail": b"x"}, "1 bytes are left behind"),
    ],
)
def test_binary_data_that_is_wrong(client: TestClient, given: dict[str, Any], said: str) -> None:
    head, body = binary_body(**given)
    headers = {"inference-header-content-length": str(len(head))}
    refused(client.post(INFER, content=body, headers=headers), 400, said)


@pytest.mark.parametrize("length", ["-1", "x", "", "99999999", "1e3", "9" * 5000])
def test_a_length_of_the_json_that_is_wrong(client: TestClient, length: str) -> None:
    _, body = binary_body()
    headers = {"inference-header-content-length": length}
    refused(client.post(INFER, content=body, headers=headers), 400, "no number of bytes")


def test_limits_hold_here_too(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret-key-123456")
    client = make_client(
        max_json_bytes=5000, api_keys=str(tmp_path / "keys"), requests_per_minute=1, burst=3
    )
    client.headers["x-api-key"] = "secret-key-123456"
    text = json.dumps({"inputs": GOOD, "id": "x" * 5000})
    # Without a content type it is JSON all the same.
    refused(client.post(INFER, content=text), 413, "the limit is 5000")
    refused(client.post(INFER, json=json.loads(text)), 413, "the limit is 5000 bytes")
    encoded = {"content-encoding": "gzip"}
    refused(client.post(INFER, content=b"x", headers=encoded), 415, "compressed")
    refused(client.post(INFER, content=b"x"), 400, "not JSON")
    response = client.post(INFER, content=b"x")
    refused(response, 429, "too many requests")
    assert response.headers["retry-after"]


def test_what_is_not_there(client: TestClient) -> None:
    refused(client.get("/v2/nothing"), 404, "Not Found")
    refused(client.get(INFER), 405, "use POST")
    refused(client.get("/v2/models/tiny-random/versions/1"), 404, "whose version is 0123")
    assert client.get(f"/v2/models/tiny-random/versions/{VERSION}").status_code == 200
