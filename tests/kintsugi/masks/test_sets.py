"""Mask sets: names, holes that depend on seed and photograph alone, the same forever."""

import numpy as np
import pytest

from kintsugi.errors import ConfigError
from kintsugi.masks.sets import (
    STANDARD_SETS,
    MaskSet,
    hole_bin,
    mask_digest,
    numbered_ids,
    parse_mask_set,
)

# The first eight masks of seed 0. A change here makes every published figure another one's.
GOLDEN = {
    "center-224-512": "bcddd065a980259d",
    "rectangle-256": "cbbcd03a24984a80",
    "thin-256": "51a0f4a56a0d19ea",
    "medium-256": "6fa65df42eda0541",
    "thick-256": "c0b9903839818a30",
    "thin-512": "cbb3f37d773d8e41",
    "medium-512": "4e1e6523545640dc",
    "thick-512": "9d70fdf9788a1a23",
    "border-256": "104bb96672dced98",
    "border-512": "d7dadf903d64e37b",
}


@pytest.mark.parametrize("name", STANDARD_SETS)
def test_the_standard_sets_are_the_same_on_every_machine_and_forever(name: str) -> None:
    masks = parse_mask_set(name)
    digest = mask_digest((mask_id, masks.mask_of(mask_id)) for mask_id in numbered_ids(8))
    assert digest[:16] == GOLDEN[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("center-96-256", MaskSet("center-96-256", "center-96", 256)),
        ("centre-96-256", MaskSet("centre-96-256", "center-96", 256)),
        ("center-half-512", MaskSet("center-half-512", "center-half", 512)),
        ("random-256", MaskSet("random-256", "rectangle", 256)),
        ("thick-256", MaskSet("thick-256", "thick", 256)),
    ],
)
def test_names_of_mask_sets(name: str, expected: MaskSet) -> None:
    assert parse_mask_set(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("thick", "names no size"),
        ("thick-0", "names no size"),
        ("centre-64", "'centre-64' names one size: write both"),
        ("thick-100", "multiple of 8"),
        ("thick-32", "at least 64"),
        ("fog-256", "'fog' is not known"),
        ("center-256-256", "leaves nothing"),
    ],
)
def test_refuses_other_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_mask_set(name)


def test_masks_depend_on_seed_photograph_and_set_alone() -> None:
    strokes = parse_mask_set("thick-64")
    mask = strokes.mask_of("a.jpg")
    assert np.array_equal(mask, parse_mask_set("thick-64").mask_of("a.jpg"))
    assert not np.array_equal(mask, strokes.mask_of("b.jpg"))
    assert not np.array_equal(mask, parse_mask_set("thick-64", seed=1).mask_of("a.jpg"))
    # The hole of the paper's test is where it always is.
    center = parse_mask_set("center-24-64", seed=5).mask_of("a.jpg")
    assert center.nonzero()[0].min() == center.nonzero()[1].min() == 20
    assert center.sum() == 24 * 24


def test_the_papers_holes() -> None:
    assert parse_mask_set("center-224-512").mask_of("a").sum() == 224**2
    for number in numbered_ids(50):
        rows, columns = parse_mask_set("rectangle-256").mask_of(number).nonzero()
        assert 32 <= np.ptp(rows) + 1 <= 128
        assert 32 <= np.ptp(columns) + 1 <= 128


def test_a_digest_differs_by_masks_ids_and_shapes() -> None:
    mask = np.zeros((4, 6), np.bool_)
    digests = {
        mask_digest(pairs)
        for pairs in ([("a", mask)], [("b", mask)], [("a", mask.T)], [("a", ~mask)], [])
    }
    assert len(digests) == 5


def test_ten_bins() -> None:
    assert [hole_bin(share) for share in (0, 0.0999, 0.1, 0.55, 0.999, 1)] == [0, 0, 1, 5, 9, 9]


def test_numbered_ids() -> None:
    assert numbered_ids(2) == ["000000", "000001"]
    with pytest.raises(ConfigError, match="count 0"):
        numbered_ids(0)
