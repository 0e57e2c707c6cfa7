"""Files with more bits or channels than Pillow writes, made in memory."""

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from kintsugi.imaging.heif import reads_heif

Samples = npt.NDArray[Any]


def avif(samples: Samples, bits: int) -> bytes:
    """Of deep samples in as many bits."""
    stored = (samples >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    order = stored if stored.ndim == 2 else stored[..., [2, 1, 0, 3][: stored.shape[2]]]
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 95]
    return bytes(cv2.imencode(".avif", np.ascontiguousarray(order), options)[1])


def heic(samples: Samples, **settings: int) -> bytes:
    """Of deep samples, as the encoder stores them: 10 bits."""
    if not reads_heif():
        pytest.skip("the extra heic is not installed")
    import pillow_heif

    buffer = io.BytesIO()
    mode = "I;16" if samples.ndim == 2 else "RGB;16"
    pillow_heif.from_bytes(mode, (64, 96), np.ascontiguousarray(samples).tobytes()).save(
        buffer, quality=95, **settings
    )
    return buffer.getvalue()


def tiff(samples: Samples, photometric: str, extra: list[int]) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, samples, photometric=photometric, extrasamples=extra or None, planarconfig="contig"
    )
    return buffer.getvalue()
