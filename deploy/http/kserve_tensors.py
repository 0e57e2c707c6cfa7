"""Bodies of KServe's V2 protocol: BYTES tensors in JSON or in its binary extension; no route.

In JSON a tensor's element is the file in base64. In the extension it stands behind the
JSON, whose length stands in a header: four bytes of its length (little-endian), then the file.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from kintsugi.deploy.http.json_body import decode_base64, parse_object
from kintsugi.deploy.http.middleware import whole_number
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.options import unknown_field
from kintsugi.errors import InvalidInput

HEADER_LENGTH = "inference-header-content-length"
_LENGTH_BYTES = 4


class _Tensor(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _Output(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    parameters: dict[str, Any] = {}


class _Infer(BaseModel):
    model_config = ConfigDict(strict=True)

    inputs: list[_Tensor]
    outputs: list[_Output] = []
    parameters: dict[str, Any] = {}
    id: str = ""


@dataclass(frozen=True)
class InferRequest:
    """A request for inference.

    Attributes:
        id: The client's name for it; "" for none.
        files: Each input tensor's one element by its name.
        options: The request's parameters but those of the protocol.
        binary: Whether the answer's image stands behind the JSON.
    """

    id: str
    files: dict[str, bytes]
    options: dict[str, object]
    binary: bool


def split_body(body: bytes, header: str | None, max_json_bytes: int) -> tuple[bytes, bytes]:
    """The JSON, and what stands behind it.

    Args:
        body: The body of the request.
        header: Value of `Inference-Header-Content-Length`; None: all is JSON.
        max_json_bytes: The limit for the JSON text.

    Raises: Problem 400 `inference_header_malformed`, 413 `body_too_large`.
    """
    length = len(body) if header is None else whole_number(header)
    if length is None or length > len(body):
        raise Problem(
            400,
            "inference_header_malformed",
            detail="Inference-Header-Content-Length is no number of bytes within the body",
            hint="send the length of the JSON in front of the binary data",
        )
    if length > max_json_bytes:
        raise Problem(
            413,
            "body_too_large",
            detail=f"the JSON has {length} bytes, the limit is {max_json_bytes}",
            hint="send the tensors as binary data",
        )
    return body[:length], body[length:]


def parse_infer(data: bytes, binary: bytes, names: Mapping[str, str]) -> InferRequest:
    """Read a request for inference.

    Args:
        data: Its JSON.
        binary: What stands behind it.
        names: The input tensors there are.

    Raises:
        Problem: 400 `json_malformed`, `infer_malformed`.
        InvalidInput: A tensor or an output is unknown, repeated, or no BYTES of shape [1].
    """
    infer = _validated(parse_object(data))
    files: dict[str, bytes] = {}
    for tensor in infer.inputs:
        if tensor.name not in names:
            raise unknown_field(tensor.name, list(names))
        if tensor.name in files:
            raise InvalidInput(
                f"{tensor.name} was sent more than once",
                code=f"{tensor.name}_repeated",
                hint="send it once",
            )
        files[tensor.name], binary = _element(tensor, binary)
    if binary:
        raise _malformed(f"{len(binary)} bytes are left behind the last tensor")
    options = dict(infer.parameters)
    wanted = options.pop("binary_data_output", False)
    for output in infer.outputs:
        if output.name != "image":
            raise unknown_field(output.name, ["image"])
        wanted = output.parameters.get("binary_data", wanted)
    return InferRequest(infer.id, files, options, wanted is True)


def infer_response(
    head: dict[str, Any], image: bytes, *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an answer with one output, `image`.

    Args:
        head: Names of model, version and request.
        image: The file.
        binary: As InferRequest's.
    """
    output: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1]}
    if not binary:
        output["data"] = [base64.b64encode(image).decode()]
        body = json.dumps({**head, "outputs": [output]}).encode()
        return body, {"content-type": "application/json"}
    output["parameters"] = {"binary_data_size": _LENGTH_BYTES + len(image)}
    text = json.dumps({**head, "outputs": [output]}).encode()
    body = b"".join((text, len(image).to_bytes(_LENGTH_BYTES, "little"), image))
    return body, {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}


def _validated(parsed: dict[str, Any]) -> _Infer:
    try:
        return _Infer.model_validate(parsed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    raise _malformed(f"{where} is missing or of another type")


def _element(tensor: _Tensor, binary: bytes) -> tuple[bytes, bytes]:
    """A tensor's one element, and what is left behind it."""
    if tensor.datatype != "BYTES" or tensor.shape != [1]:
        raise InvalidInput(
            f"the tensor {tensor.name} is not of datatype BYTES and shape [1]",
            code=f"{tensor.name}_not_bytes",
            hint="send the file as it is, as its one element",
        )
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None or len(tensor.data) != 1:
            raise _malformed(f"the tensor {tensor.name} has not one element as its data")
        return decode_base64(tensor.data[0], tensor.name), binary
    # True is an int, too.
    if type(size) is not int or not _LENGTH_BYTES <= size <= len(binary):
        raise _malformed(f"binary_data_size of {tensor.name} is no length within the body")
    length = int.from_bytes(binary[:_LENGTH_BYTES], "little")
    if length != size - _LENGTH_BYTES:
        raise _malformed(f"the element of {tensor.name} is not as long as it says")
    return binary[_LENGTH_BYTES:size], binary[size:]


def _malformed(detail: str) -> Problem:
    return Problem(
        400,
        "infer_malformed",
        detail=detail,
        hint="see the KServe V2 inference protocol and its binary tensor data extension",
    )
