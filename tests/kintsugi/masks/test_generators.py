"""kintsugi.masks.generators: seeded holes, the same everywhere, never all and never nothing."""

import hashlib

import numpy as np
import pytest

from kintsugi.errors import ConfigError
from kintsugi.masks.generators import MASK_KINDS, MAX_HOLE_SHARE, check_kind, draw_mask, hole_share

KINDS = (*MASK_KINDS, "center-96")
DRAWN = tuple(kind for kind in MASK_KINDS if not kind.startswith("center"))


def digest(masks: list[np.ndarray]) -> str:
    packed = b"".join(np.packbits(mask).tobytes() for mask in masks)
    return hashlib.sha256(packed).hexdigest()[:16]


# A change here changes what every seed means: of training runs and of published tables.
GOLDEN = {
    "rectangle": "786c43ce9b1f8c41",
    "strokes": "5eb866215e2ffb08",
    "thin": "3999f94b4107d36d",
    "medium": "2569b11f6705511b",
    "thick": "48ebfaeaac400c12",
    "object": "226fa9adeba40ec7",
    "blob": "2418ae500eba7f63",
    "border": "a4cf65437db3170b",
    "center-half": "17b373044c35ebc8",
    "center-96": "4a383831c2177b75",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_means_the_same_mask_on_every_machine(kind: str) -> None:
    rng = np.random.default_rng(7)
    masks = [draw_mask(kind, 256, 320, rng) for _ in range(4)]
    masks += [draw_mask(kind, 512, 512, rng) for _ in range(2)]
    assert digest(masks) == GOLDEN[kind]


@pytest.mark.parametrize("kind", DRAWN)
def test_drawn_masks_have_hole_and_known_pixels(kind: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [(8, 8), (8, 200), (64, 48), (128, 128), (256, 256), (300, 700)]
    shares = []
    for height, width in sizes * 8:
        mask = draw_mask(kind, height, width, rng)
        assert mask.shape == (height, width)
        assert mask.dtype == np.bool_
        assert mask.flags.c_contiguous
        shares.append(hole_share(mask))
    assert 0 < min(shares) <= max(shares) <= MAX_HOLE_SHARE
    assert max(shares) > 1.5 * min(shares), "masks vary"


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.slow
def test_holes_reach_every_part_of_the_image(kind: str) -> None:
    rng = np.random.default_rng(1)
    # A mask of thin strokes has so many of them that half as many masks show as much.
    draws = 200 if kind == "thin" else 400
    often = np.mean([draw_mask(kind, 64, 64, rng) for _ in range(draws)], axis=0)
    parts = often.reshape(4, 16, 4, 16).mean(axis=(1, 3))
    if kind == "border":
        assert parts[1:3, 1:3].max() < parts[0].min()
    else:
        assert parts.min() > 0.02
        # No side is favoured by much.
        assert np.abs(parts - parts[::-1, ::-1]).max() < 0.12


def test_a_rectangle_has_the_papers_sides() -> None:
    rng = np.random.default_rng(2)
    heights, widths = [], []
    for _ in range(500):
        rows, columns = np.nonzero(draw_mask("rectangle", 256, 512, rng))
        heights.append(np.ptp(rows) + 1)
        widths.append(np.ptp(columns) + 1)
        assert len(rows) == heights[-1] * widths[-1], "it is filled"
    assert (min(heights), max(heights)) == (32, 128)
    assert (min(widths), max(widths)) == (32, 128)


def test_lamas_kinds_grow_with_the_image_and_differ_in_thickness() -> None:
    def thickness(kind: str, side: int) -> float:
        """Hole pixels for each pixel of outline."""
        rng = np.random.default_rng(3)
        masks = np.stack([draw_mask(kind, side, side, rng) for _ in range(30)])
        outline = (masks[:, 1:] != masks[:, :-1]).sum() + (
            masks[:, :, 1:] != masks[:, :, :-1]
        ).sum()
        return float(masks.sum() / outline)

    thin, medium, thick = (thickness(kind, 256) for kind in ("thin", "medium", "thick"))
    assert thin < medium < thick
    assert 1.6 < thickness("thick", 256) / thickness("thick", 128) < 2.4


def test_center_holes_are_exact() -> None:
    rng = np.random.default_rng(0)
    expected = np.zeros((128, 200), np.bool_)
    expected[16:112, 52:148] = True
    np.testing.assert_array_equal(draw_mask("center-96", 128, 200, rng), expected)
    assert hole_share(draw_mask("center-half", 64, 200, rng)) == 0.25


@pytest.mark.parametrize(
    ("kind", "side", "message"),
    [
        ("circle", 64, "'circle' is not known: use one of rectangle, .*center-<pixels>"),
        ("center-0", 64, "not known"),
        ("center-64", 64, "leaves nothing of 64x64 px"),
        ("center-65", 64, "leaves nothing"),
        ("rectangle", 7, "both sides must have 8 px"),
    ],
)
def test_what_cannot_be_drawn_is_a_config_error(kind: str, side: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_mask(kind, side, side, np.random.default_rng(0))


def test_check_kind_knows_all_kinds() -> None:
    for kind in KINDS:
        check_kind(kind)
    with pytest.raises(ConfigError):
        check_kind("center-")
