"""A hole that was erased softly into the photograph, over HTTP; its right answer is opaque."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from tests.deploy.conftest import MASK, PHOTO, encode

CASE = (
    Path(os.environ.get("KINTSUGI_SHARED", Path(__file__).parents[4] / "shared"))
    / "cases"
    / "soft-eraser"
    / "photo.png"
)


def softly_erased() -> bytes:
    touched = Image.fromarray(MASK.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(3))
    return encode(np.dstack([PHOTO, 255 - np.asarray(touched)]))


@pytest.mark.parametrize("case", ["shared", "twin"])
def test_what_the_eraser_touched_is_filled_and_opaque(client: TestClient, case: str) -> None:
    if case == "shared" and not CASE.is_file():
        pytest.skip(f"no {CASE}: set KINTSUGI_SHARED")
    sent = CASE.read_bytes() if case == "shared" else softly_erased()
    files = {"image": ("photo.png", sent)}
    response = client.post("/v1/inpaint", files=files, data={"mask_convention": "alpha"})
    assert response.status_code == 200, response.text
    before = np.asarray(Image.open(io.BytesIO(sent)).convert("RGBA"))
    after = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGBA"))
    assert (after[..., 3] == 255).all()
    touched = before[..., 3] < 255
    np.testing.assert_array_equal(after[~touched], before[~touched])
    assert (after[touched][:, :3] != before[touched][:, :3]).any(axis=1).mean() > 0.8
