"""Style transfer: every content window becomes its nearest style window; no weights.

The operator of the hole over the whole map, from another map (Chen and Schmidt 2016,
"Fast patch-based style transfer", section 3.1); Feature2Image makes the image. Shapes:
B batch, C channels, h w feature cells of the content, h2 w2 of the style.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kintsugi.models.match.search import Method, check_method, nearest
from kintsugi.models.match.windows import PATCH, Search
from kintsugi.models.networks.cells import features_of
from kintsugi.models.networks.vgg import FEATURE_CHANNELS

# Bytes of swapped features that are averaged at one time: they stay near the processor.
_BAND_BYTES = 16 * 2**20


@torch.no_grad()
def swap_style(
    content: Float[Tensor, "B C h w"],
    style: Float[Tensor, "B C h2 w2"],
    *,
    strength: float,
    method: Method = "auto",
    seed: int = 0,
) -> Float[Tensor, "B C h w"]:
    """Swap every content window for its nearest style window and blend.

    Args:
        content: Features whose arrangement is kept, or cells with their pixels.
        style: Those whose patches are copied, compared by their features; any size of at least
            3x3 cells. Pixels are the style's wherever there is any strength: a blend of two
            pictures' pixels would show both.
        strength: How much of the answer is style, 0-1: 0 gives the content's features to
            the bit, 1 the mean of the style windows that overlap in each cell.
        method: "exact", "approximate", or "auto": exact where that is affordable
            (`kintsugi.models.match.search`).
        seed: Decides every random choice of the approximate search.

    Raises:
        ValueError: strength outside 0-1, an unknown method, or a map smaller than a patch.
    """
    check_strength(strength)
    check_method(method)
    for name, features in (("content", content), ("style", style)):
        height, width = features.shape[-2:]
        if min(height, width) < PATCH:
            raise ValueError(
                f"the {name}'s feature map is {width}x{height}: a patch needs {PATCH}x{PATCH} cells"
            )
    if strength == 0:
        return content
    swapped = []
    for item, source in zip(content, style, strict=True):
        search = _search(features_of(item[None])[0].float(), features_of(source[None])[0].float())
        indices = nearest(search, method=method, seed=seed)
        swapped.append(_paste_and_blend(item, source, indices, strength))
    return torch.stack(swapped)


def check_strength(strength: float) -> None:
    """Raises: ValueError when ``strength`` is not a number from 0 to 1."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: choose 0 (the content) to 1 (all style)")


def _search(content: Float[Tensor, "C h w"], style: Float[Tensor, "C h2 w2"]) -> Search:
    """All windows of the content among all windows of the style."""
    queries, candidates = (
        torch.ones(
            keys.shape[-2] - PATCH + 1,
            keys.shape[-1] - PATCH + 1,
            dtype=torch.bool,
            device=keys.device,
        )
        for keys in (content, style)
    )
    return Search(content, style, queries, candidates)


def _paste_and_blend(
    content: Float[Tensor, "C h w"],
    style: Float[Tensor, "C h2 w2"],
    indices: Int64[Tensor, "rows columns"],
    strength: float,
) -> Float[Tensor, "C h w"]:
    """The content blended with the mean of the windows that lie over each cell."""
    answer = torch.empty_like(content)
    pixels = slice(FEATURE_CHANNELS, None)
    for top, bottom, mean in _means(style, indices):
        band = mean.permute(2, 0, 1)
        torch.lerp(content[:, top:bottom], band, strength, out=answer[:, top:bottom])
        answer[pixels, top:bottom] = band[pixels]
    return answer


def _means(
    style: Float[Tensor, "C h2 w2"], indices: Int64[Tensor, "rows columns"]
) -> Iterator[tuple[int, int, Tensor]]:
    """Bands of rows (top, bottom) and the mean of the windows over their cells, rows w C."""
    channels, _, style_width = style.shape
    cells = style.permute(1, 2, 0).reshape(-1, channels)
    # Cell of the style's map in which each matched window begins.
    corner = indices // (style_width - PATCH + 1) * style_width
    corner = corner + indices % (style_width - PATCH + 1)
    window_rows, window_columns = indices.shape
    height, width = window_rows + PATCH - 1, window_columns + PATCH - 1
    rows_at_once = max(1, _BAND_BYTES // (width * channels * style.element_size()))
    for top in range(0, height, rows_at_once):
        bottom = min(top + rows_at_once, height)
        mean = cells.new_zeros(bottom - top, width, channels)
        count = cells.new_zeros(bottom - top, width, 1)
        for down in range(PATCH):
            first, last = max(top, down), min(bottom, window_rows + down)
            if first >= last:
                continue
            rows = slice(first - top, last - top)
            for right in range(PATCH):
                columns = slice(right, right + window_columns)
                source = corner[first - down : last - down] + (down * style_width + right)
                share = count[rows, columns].add_(1).reciprocal()
                # A running mean: of equal windows it is exactly each of them, as a sum
                # that is divided would not be.
                mean[rows, columns].lerp_(cells[source], share)
        yield top, bottom, mean
