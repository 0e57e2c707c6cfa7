"""What a mask marks: every convention, inverted, at a threshold, with hard and smooth edges."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import decode_mask
from kintsugi.imaging.holed import open_holed
from kintsugi.imaging.photo_options import MaskConvention, MaskOptions
from tests.kintsugi.pictures import encode, gradient, photo

HOLE = np.zeros((40, 48), np.bool_)
HOLE[10:30, 12:33] = True
WHITE = np.where(HOLE, 255, 0).astype(np.uint8)


def hole_in(data: bytes, **options: object) -> np.ndarray:
    return decode_mask(data, options=MaskOptions(**options))  # type: ignore[arg-type]


def on_transparent(colour: tuple[int, int, int]) -> bytes:
    """Strokes of a colour, nothing around them."""
    return encode(np.dstack([np.full((*HOLE.shape, 3), colour, np.uint8), WHITE]))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_white_is_hole(kind: str) -> None:
    for pixels in (WHITE, np.dstack([WHITE] * 3)):
        mask = hole_in(encode(pixels, kind))
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, HOLE)


def test_a_one_bit_mask_and_an_opaque_alpha_channel() -> None:
    np.testing.assert_array_equal(hole_in(encode(Image.fromarray(HOLE))), HOLE)
    rgba = np.dstack([WHITE] * 3 + [np.full_like(WHITE, 255)])
    np.testing.assert_array_equal(hole_in(encode(rgba)), HOLE)


def test_black_is_hole() -> None:
    np.testing.assert_array_equal(hole_in(encode(255 - WHITE), mask_convention="black"), HOLE)
    np.testing.assert_array_equal(hole_in(encode(WHITE), mask_convention="black"), ~HOLE)


def test_strokes_on_a_transparent_ground() -> None:
    white, black, red = (on_transparent(each) for each in ((255,) * 3, (0,) * 3, (250, 20, 0)))
    np.testing.assert_array_equal(hole_in(white), HOLE)
    np.testing.assert_array_equal(hole_in(black, mask_convention="black"), HOLE)
    for strokes in (white, black, red):
        np.testing.assert_array_equal(hole_in(strokes, mask_convention="painted"), HOLE)
    # What cannot be seen has no colour.
    unseen = np.dstack([np.where(HOLE[..., None], 255, gradient(40, 48)).astype(np.uint8), WHITE])
    np.testing.assert_array_equal(hole_in(encode(unseen)), HOLE)


def test_what_was_erased_is_hole_as_far_as_it_was_touched() -> None:
    alpha = np.tile(np.array([0, 1, 127, 254, 255], np.uint8), (20, 4))
    data = encode(np.dstack([gradient(20, 20), alpha]))
    np.testing.assert_array_equal(hole_in(data, mask_convention="alpha"), alpha < 255)
    half = hole_in(data, mask_convention="alpha", mask_threshold=128)
    np.testing.assert_array_equal(half, alpha <= 127)
    painted = hole_in(data, mask_convention="painted")
    np.testing.assert_array_equal(painted, alpha > 0)
    np.testing.assert_array_equal(hole_in(data, mask_convention="alpha", invert_mask=True), painted)


def test_a_mask_can_be_inverted() -> None:
    np.testing.assert_array_equal(hole_in(encode(255 - WHITE), invert_mask=True), HOLE)


@pytest.mark.parametrize("threshold", [1, 40, 128, 255])
def test_a_threshold_that_was_given_holds(threshold: int) -> None:
    grey = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    np.testing.assert_array_equal(
        hole_in(encode(grey), mask_threshold=threshold), grey >= threshold
    )


def test_a_smooth_edge_belongs_to_the_hole_and_jpegs_ringing_does_not() -> None:
    smooth = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(2)))
    for convention, data in (("white", encode(smooth)), ("black", encode(255 - smooth))):
        choice: MaskConvention = "white" if convention == "white" else "black"
        np.testing.assert_array_equal(hole_in(data, mask_convention=choice), smooth >= 16)
    buffer = io.BytesIO()
    Image.fromarray(WHITE).save(buffer, "JPEG", quality=60)
    np.testing.assert_array_equal(hole_in(buffer.getvalue()), HOLE)


def test_masks_that_say_nothing_clear_are_refused_and_the_way_out_is_one_there_is() -> None:
    codes = []
    for data, options in (
        (photo(), {}),
        (photo(), {"mask_convention": "alpha"}),
        (photo(), {"mask_convention": "painted"}),
        (b"", {}),
    ):
        with pytest.raises(InvalidInput) as caught:
            hole_in(data, **options)
        codes.append(caught.value.code)
        assert "mask_convention" in caught.value.hint or not data
    assert codes == ["mask_not_gray", "mask_no_alpha", "mask_no_alpha", "mask_empty_file"]


@pytest.mark.parametrize(
    ("convention", "alpha", "code", "says"),
    [
        ("alpha", 0, "mask_full", "the mask covers the whole image"),
        ("painted", 255, "mask_full", "the mask covers the whole image"),
        ("alpha", 255, "mask_empty", "the mask is empty"),
        ("painted", 0, "mask_empty", "the mask is empty"),
        ("alpha", 100, "mask_empty", "the mask is empty: every pixel is marked alike, 155 of 255"),
    ],
)
def test_all_and_nothing_are_called_that(
    convention: MaskConvention, alpha: int, code: str, says: str
) -> None:
    picture = encode(np.dstack([gradient(20, 20), np.full((20, 20), alpha, np.uint8)]))
    ways: list[tuple[bytes, bytes | None]] = [(encode(gradient(20, 20)), picture)]
    if convention == "alpha":
        ways.append((picture, None))
    for image, mask in ways:
        with pytest.raises(InvalidInput) as caught:
            open_holed(image, mask, MaskOptions(convention))
        assert (caught.value.code, str(caught.value)) == (code, says)
        assert caught.value.hint


def test_a_mask_of_zeros_and_ones_is_named_as_one() -> None:
    ones = HOLE.astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(ones).save(buffer, "PNG")
    with pytest.raises(InvalidInput, match="its strongest mark is 1 of 255") as caught:
        hole_in(buffer.getvalue())
    assert caught.value.code == "mask_empty"
    assert "by 255" in caught.value.hint
    np.testing.assert_array_equal(hole_in(buffer.getvalue(), mask_threshold=1), HOLE)
