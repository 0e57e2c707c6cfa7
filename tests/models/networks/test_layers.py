"""The blocks that the networks are built of: sizes, seeds and the dilated residual block."""

import pytest
import torch

from kintsugi.models.networks.layers import (
    ConvBlock,
    DilatedConvolutions,
    ResidualBlock,
    UpBlock,
    Upsampling,
    initialise,
)


@pytest.mark.parametrize(
    ("kernel", "stride", "side", "expected"),
    [(4, 2, 16, 8), (4, 1, 16, 15), (3, 1, 16, 16), (3, 2, 16, 8), (3, 2, 5, 3), (3, 2, 1, 1)],
)
def test_conv_block_sizes(kernel: int, stride: int, side: int, expected: int) -> None:
    block = ConvBlock(2, 3, kernel=kernel, stride=stride)
    assert block.eval()(torch.zeros(1, 2, side, side)).shape == (1, 3, expected, expected)


def test_a_bias_stands_where_no_norm_follows() -> None:
    normed, plain = (ConvBlock(2, 3, kernel=3, stride=1, norm=norm) for norm in (True, False))
    assert [len(normed), len(plain)] == [2, 1]
    assert normed[0].bias is None
    assert plain[0].bias is not None


@pytest.mark.parametrize(("dilated", "seen_px"), [("first", 7), ("both", 9)])
def test_residual_block_sees_what_its_dilation_says_and_mirrors_the_border(
    dilated: DilatedConvolutions, seen_px: int
) -> None:
    # Dilated 3x3 (5 px), then 3x3 (7 px in all) or another dilated one (9 px).
    block = ResidualBlock(1, dilated=dilated).eval()
    initialise(block, torch.Generator().manual_seed(0))
    block.body[3] = torch.nn.Identity()
    x = torch.zeros(1, 1, 15, 15, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x)[0, 0, 7, 7], x)
    seen = gradient[0, 0].nonzero()
    reach = seen_px // 2
    assert seen.min(0).values.tolist() == [7 - reach, 7 - reach]
    assert seen.max(0).values.tolist() == [7 + reach, 7 + reach]
    # Mirrored, a constant stays constant up to the border; zero padding would show there.
    flat = block(torch.ones(1, 1, 12, 12))
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_up_block_doubles_or_meets_a_size(upsampling: Upsampling) -> None:
    block = UpBlock(2, 3, upsampling=upsampling).eval()
    x = torch.zeros(1, 2, 3, 4)
    assert block(x).shape == (1, 3, 6, 8)
    assert block(x, (5, 7)).shape == (1, 3, 5, 7)
    assert block(torch.zeros(1, 2, 1, 1), (1, 2)).shape == (1, 3, 1, 2)


def test_resizing_leaves_no_checkerboard() -> None:
    flat = torch.ones(1, 4, 8, 8)
    inner = {}
    ways: tuple[Upsampling, ...] = ("resize", "transposed")
    for upsampling in ways:
        block = UpBlock(4, 1, upsampling=upsampling, norm=False)
        initialise(block, torch.Generator().manual_seed(0))
        inner[upsampling] = block(flat)[..., 2:-2, 2:-2].std().item()
    assert inner["resize"] == pytest.approx(0, abs=1e-7)
    assert inner["transposed"] > 1e-3


def test_initial_weights_are_seeded_and_narrow() -> None:
    blocks = [ConvBlock(32, 32, kernel=3, stride=1, norm=False) for _ in range(3)]
    for block, seed in zip(blocks, (5, 5, 6), strict=True):
        initialise(block, torch.Generator().manual_seed(seed))
    first, same, other = (block[0].weight for block in blocks)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx(0.02, rel=0.05)
    assert blocks[0][0].bias.abs().max() == 0
