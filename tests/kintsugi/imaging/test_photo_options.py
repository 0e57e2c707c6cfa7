"""Options of masks and outputs: one declaration, checked where it is made."""

import pytest

from kintsugi.errors import InvalidInput
from kintsugi.imaging.photo_options import (
    KINDS,
    FillChoices,
    MaskOptions,
    OutputOptions,
    StyleChoices,
    choice,
    choices,
)


def test_every_option_is_described_and_its_default_is_one_of_its_values() -> None:
    for kind in KINDS:
        for each in choices(kind):
            assert each.description
            each.check(each.default)
            assert each.is_switch or each.values or each.low is not None
            assert all(value in each.description for value in each.values)


@pytest.mark.parametrize(
    ("kind", "values", "code"),
    [
        (MaskOptions, {"mask_convention": "grey"}, "mask_convention_unknown"),
        (MaskOptions, {"mask_threshold": 0}, "mask_threshold_out_of_range"),
        (MaskOptions, {"mask_threshold": "some"}, "mask_threshold_unknown"),
        (MaskOptions, {"grow_mask": 65}, "grow_mask_out_of_range"),
        (MaskOptions, {"feather": True}, "feather_unknown"),
        (MaskOptions, {"invert_mask": 1}, "invert_mask_unknown"),
        (FillChoices, {"scales": 17}, "scales_out_of_range"),
        (FillChoices, {"seed": -1}, "seed_out_of_range"),
        (FillChoices, {"seed": 1.0}, "seed_unknown"),
        (StyleChoices, {"strength": 1.1}, "strength_out_of_range"),
        (StyleChoices, {"strength": "all"}, "strength_unknown"),
        (StyleChoices, {"strength": float("nan")}, "strength_out_of_range"),
        (StyleChoices, {"strength": True}, "strength_unknown"),
        (OutputOptions, {"format": "psd"}, "format_unknown"),
        (OutputOptions, {"quality": 101}, "quality_out_of_range"),
    ],
)
def test_a_value_that_there_is_not_is_named(kind: type, values: dict, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        kind(**values)
    assert caught.value.code == code
    assert caught.value.hint.startswith(next(iter(values)))


def test_text_of_a_command_line_becomes_a_value() -> None:
    assert choice("mask_threshold").parse("auto") == "auto"
    assert choice("mask_threshold").parse("12") == 12
    assert choice("strength").parse("1") == 1.0
    assert choice("strength").parse(".25") == 0.25
    assert choice("strip_metadata").flag == "--strip-metadata"
    for wrong in ("best", "9" * 5000):
        with pytest.raises(InvalidInput):
            choice("quality").parse(wrong)
