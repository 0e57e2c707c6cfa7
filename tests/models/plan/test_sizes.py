"""The sizes of a fill's scales: halved, whole cells, and a first one that G1 can take."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.models.plan.sizes import LARGEST_FIRST, scale_sizes, worth_while


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        (64, 64, [(64, 64)]),
        (256, 256, [(256, 256)]),
        (256, 360, [(256, 360)]),
        (512, 512, [(256, 256), (512, 512)]),
        (512, 344, [(256, 176), (512, 344)]),
        (1024, 768, [(256, 192), (512, 384), (1024, 768)]),
        # No side starts below 64 px, however long the other is.
        (1024, 128, [(512, 64), (1024, 128)]),
        # Or only the longer side halves on, until G1 can take it.
        (64, 40_000, [(64, 10_000), (64, 20_000), (64, 40_000)]),
        (100_000, 72, [(12_496, 64), (25_000, 64), (50_000, 64), (100_000, 72)]),
        (4096, 4096, [(256, 256), (512, 512), (1024, 1024), (2048, 2048), (4096, 4096)]),
    ],
)
def test_sizes_halve_down_to_about_256(
    height: int, width: int, sizes: list[tuple[int, int]]
) -> None:
    assert scale_sizes(height, width, "auto") == sizes


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        (128, 128, [(128, 128)]),
        (256, 256, [(128, 128), (256, 256)]),
        (512, 344, [(128, 88), (256, 176), (512, 344)]),
        (128, 512, [(64, 256), (128, 512)]),
    ],
)
def test_a_first_scale_may_be_smaller(
    height: int, width: int, sizes: list[tuple[int, int]]
) -> None:
    assert scale_sizes(height, width, "auto", first_side=128) == sizes


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(8, 400) | st.integers(8, 200_000), st.integers(8, 400))
def test_every_size_is_whole_cells_and_the_last_is_the_crops_own(rows: int, columns: int) -> None:
    sizes = scale_sizes(8 * rows, 8 * columns, "auto")
    assert sizes[-1] == (8 * rows, 8 * columns)
    assert sizes == sorted(sizes)
    for height, width in sizes:
        assert height % 8 == 0
        assert width % 8 == 0
        assert min(height, width) >= 64
    assert sizes[0][0] * sizes[0][1] <= LARGEST_FIRST


def test_a_number_of_scales_is_obeyed_or_refused() -> None:
    assert scale_sizes(512, 512, 1) == [(512, 512)]
    assert [size[0] for size in scale_sizes(512, 512, 4)] == [64, 128, 256, 512]
    with pytest.raises(ValueError, match="scales=5 would start at 32 px: choose at most 4"):
        scale_sizes(512, 512, 5)


@pytest.mark.parametrize(
    ("size", "scales", "message"),
    [
        (
            (5656, 5656),
            1,
            "scales=1 would start at 5656x5656 px, more than 1048576 px: choose more",
        ),
        ((2048, 4096), 2, "scales=2 would start at 2048x1024 px"),
        ((64, 100_000), 1, "scales=1 would start at 100000x64 px"),
    ],
)
def test_a_first_scale_that_g1_cannot_take_is_refused(
    size: tuple[int, int], scales: int, message: str
) -> None:
    with pytest.raises(ValueError, match=f"{message}.* or 'auto'"):
        scale_sizes(*size, scales)


def test_the_largest_first_scale_is_taken() -> None:
    assert scale_sizes(1024, 1024, 1) == [(1024, 1024)]
    assert scale_sizes(2048, 2048, 2)[0] == (1024, 1024)


def test_sizes_that_see_no_known_pixel_are_left_out_but_never_those_that_g1_needs() -> None:
    sizes = scale_sizes(2048, 2048, "auto")
    noise = torch.rand(1, 1, 2048, 2048, generator=torch.Generator().manual_seed(0)) < 0.3
    assert worth_while(sizes, noise.float()) == [(1024, 1024), (2048, 2048)]
    sparse = torch.zeros(1, 1, 2048, 2048)
    sparse[..., ::8, ::8] = 1
    assert worth_while(sizes, sparse) == [(512, 512), (1024, 1024), (2048, 2048)]
    sparse[..., ::8, ::8] = 0
    assert worth_while(sizes, sparse) == sizes
