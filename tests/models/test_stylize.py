"""Swapping windows of one feature map for those of another, against the plain loop."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.match.windows import PATCH
from kintsugi.models.networks.cells import append_pixels
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.stylize import swap_style


def maps(*sizes: tuple[int, int], batch: int = 1, channels: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, *size, generator=generator) for size in sizes]


def swap_by_loops(content: Tensor, style: Tensor) -> Tensor:
    """The definition: C h w and C h2 w2, every window, float64."""
    content, style = content.double(), style.double()
    patches = style.unfold(1, PATCH, 1).unfold(2, PATCH, 1).flatten(1, 2).transpose(0, 1)
    flat = patches.flatten(1)
    total, count = torch.zeros_like(content), torch.zeros_like(content[:1])
    for row in range(content.shape[1] - 2):
        for column in range(content.shape[2] - 2):
            window = content[:, row : row + PATCH, column : column + PATCH].flatten()
            best = (flat @ window / flat.norm(dim=1)).argmax()
            total[:, row : row + PATCH, column : column + PATCH] += patches[best]
            count[:, row : row + PATCH, column : column + PATCH] += 1
    return (total / count).float()


@pytest.mark.parametrize(
    ("content_size", "style_size"),
    [((3, 3), (3, 3)), ((3, 9), (12, 3)), ((10, 7), (5, 13)), ((16, 16), (9, 9))],
)
def test_every_window_is_the_nearest_of_the_style(
    content_size: tuple[int, int], style_size: tuple[int, int]
) -> None:
    content, style = maps(content_size, style_size, batch=2)
    swapped = swap_style(content, style, strength=1.0, method="exact")
    expected = torch.stack([swap_by_loops(*pair) for pair in zip(content, style, strict=True)])
    torch.testing.assert_close(swapped, expected)


def test_strength_blends_from_the_content_to_the_style() -> None:
    content, style = maps((9, 12), (11, 8))
    whole = swap_style(content, style, strength=1.0)
    assert torch.equal(swap_style(content, style, strength=0.0), content)
    half = swap_style(content, style, strength=0.5)
    torch.testing.assert_close(half, (content + whole) / 2)
    assert not torch.equal(whole, content)


def test_a_picture_in_its_own_style_keeps_its_features_to_the_bit(
    encoder: Vgg19Relu3, generator: torch.Generator
) -> None:
    with torch.inference_mode():
        features = encoder(torch.rand(1, 3, 96, 128, generator=generator))
    for method in ("exact", "auto"):
        assert torch.equal(swap_style(features, features, strength=1.0, method=method), features)


def test_large_maps_are_searched_approximately(monkeypatch: pytest.MonkeyPatch) -> None:
    content, style = maps((20, 24), (16, 30), channels=8)
    exact = swap_style(content, style, strength=1.0, method="exact")
    near = swap_style(content, style, strength=1.0, method="approximate", seed=3)
    assert torch.equal(swap_style(content, style, strength=1.0), exact)
    monkeypatch.setattr("kintsugi.models.match.search.MOST_EXACT_SCORES", 18 * 22 * 14 * 28 - 1)
    assert torch.equal(swap_style(content, style, strength=1.0, seed=3), near)


def test_large_maps_are_averaged_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    content, style = maps((15, 6), (7, 7))
    whole = swap_style(content, style, strength=1.0)
    for rows in (1, 2, 4):
        monkeypatch.setattr("kintsugi.models.stylize._BAND_BYTES", rows * 6 * 6 * 4)
        assert torch.equal(swap_style(content, style, strength=1.0), whole)


def test_half_precision_and_zero_features() -> None:
    content, style = maps((8, 8), (8, 8))
    swapped = swap_style(content.bfloat16(), style.bfloat16(), strength=0.5)
    assert swapped.dtype == torch.bfloat16
    assert swap_style(torch.zeros_like(content), style, strength=1.0).isfinite().all()
    assert (swap_style(content, torch.zeros_like(style), strength=1.0) == 0).all()


def test_refuses_wrong_arguments() -> None:
    content, style = maps((8, 8), (8, 2))
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"strength=.*choose 0"):
            swap_style(content, content, strength=strength)
    with pytest.raises(ValueError, match="style's feature map is 2x8"):
        swap_style(content, style, strength=0.0)


def test_pixels_come_from_the_style_and_are_not_compared() -> None:
    generator = torch.Generator().manual_seed(4)
    content, style = (torch.rand(1, 256, 6, 6, generator=generator) for _ in range(2))
    looks = [torch.rand(1, 3, 24, 24, generator=generator) for _ in range(2)]
    cells = [append_pixels(*pair) for pair in zip((content, style), looks, strict=True)]
    half = swap_style(*cells, strength=0.5)
    assert torch.equal(half[:, :256], swap_style(content, style, strength=0.5))
    whole = swap_style(*cells, strength=1.0)
    assert torch.equal(half[:, 256:], whole[:, 256:])
    assert torch.equal(swap_style(*cells, strength=0.0), cells[0])
