"""HEIC files: decoded as they are displayed, limited before, refused when broken."""

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import InvalidInput
from kintsugi.imaging import saving
from kintsugi.imaging.codec import ImageLimits, decode_image, sniff_format
from kintsugi.imaging.heif import reads_heif
from kintsugi.imaging.photo_options import output_in
from kintsugi.imaging.photograph import open_photograph
from tests.kintsugi.pictures import encode, gradient


@pytest.fixture(scope="module")
def heic() -> bytes:
    """96 high and 64 wide, with a quality that shows."""
    if not reads_heif():
        pytest.skip("the extra heic is not installed")
    buffer = io.BytesIO()
    Image.fromarray(gradient()).save(buffer, "HEIF", quality=95)
    return buffer.getvalue()


def test_it_is_decoded(heic: bytes) -> None:
    assert sniff_format(heic) == "heif"
    decoded = decode_image(heic)
    assert decoded.format == "heif"
    assert decoded.pixels.shape == (96, 64, 3)
    assert np.abs(decoded.pixels.astype(int) - gradient()).mean() < 3


def test_limits_hold(heic: bytes) -> None:
    for limits, code in (
        (ImageLimits(max_pixels=96 * 64 - 1), "image_too_many_pixels"),
        (ImageLimits(min_side=65), "image_too_small"),
    ):
        with pytest.raises(InvalidInput) as caught:
            decode_image(heic, limits)
        assert caught.value.code == code


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_file_that_is_cut_is_undecodable(heic: bytes, share: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_image(heic[: int(len(heic) * share)])
    assert caught.value.code == "image_undecodable"


def test_mutated_files_raise_nothing_else(heic: bytes) -> None:
    generator = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(heic)
        for at in generator.integers(12, len(data), 4):
            data[at] = generator.integers(256)
        with contextlib.suppress(InvalidInput):
            decode_image(bytes(data))


def test_avif_has_the_same_container() -> None:
    assert sniff_format(b"\0\0\0\x1cftypavif" + bytes(100)) == "avif"
    shared = b"\0\0\0\x1cftypmif1" + bytes(4)
    assert sniff_format(shared + b"mif1avifmiaf" + bytes(100)) == "avif"
    assert sniff_format(shared + b"mif1heicmiaf" + bytes(100)) == "heif"


def test_another_photograph_is_written_as_one(heic: bytes) -> None:
    """In a process that has read none: Pillow knows the format only by then."""
    script = """
import io
import sys
import numpy as np
from PIL import Image
from kintsugi.imaging.photo_options import output_in
from kintsugi.imaging.photograph import open_photograph
from kintsugi.imaging.saving import save_photograph
data = io.BytesIO()
Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(data, "PNG")
photo = open_photograph(data.getvalue())
sys.stdout.buffer.write(save_photograph(photo, photo.seen, output_in("heif")).body)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert decode_image(run.stdout).format == "heif"


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "reads_heif", lambda: False)
    photo = open_photograph(encode(gradient()))
    with pytest.raises(InvalidInput, match="HEIC cannot be written here") as caught:
        saving.save_photograph(photo, photo.seen, output_in("heif"))
    assert "kintsugi-inpainting[heic]" in caught.value.hint
