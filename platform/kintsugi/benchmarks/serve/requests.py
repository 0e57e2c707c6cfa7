"""One photograph to the requests that are sent: encoded files, and a form around them."""

import io
import math
import uuid
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kintsugi.benchmarks.match.inputs import enlarge
from kintsugi.benchmarks.serve.serve_plan import ServeCase
from kintsugi.imaging.arrays import Pixels


@dataclass(frozen=True)
class PreparedRequest:
    """What is sent for one case.

    Attributes:
        case: Size and hole.
        image: The photograph as PNG.
        mask: The mask as PNG, white = hole.
        body: Both as a multipart form.
        content_type: The content type of the form.
    """

    case: ServeCase
    image: bytes
    mask: bytes
    body: bytes
    content_type: str


def make_request(photo: Pixels, case: ServeCase) -> PreparedRequest:
    """The middle of a photograph (uint8 H W 3, RGB) at the case's size, with its hole."""
    pixels, _ = enlarge(photo, case.side_px)
    hole = max(1, round(case.side_px * math.sqrt(case.hole_share)))
    start = (case.side_px - hole) // 2
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[start : start + hole, start : start + hole] = 255
    files = {"image": _png(pixels), "mask": _png(mask)}
    boundary = uuid.uuid4().hex
    parts = []
    for name, data in files.items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{name}.png"'
        parts += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), data, b"\r\n"]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    content_type = f"multipart/form-data; boundary={boundary}"
    return PreparedRequest(case, files["image"], files["mask"], body, content_type)


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
