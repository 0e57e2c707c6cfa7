"""One scale's match as a release prefers it; walked by `Inpainter` and by the graph's nodes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kintsugi.models.match.approximate import upsample_matches
from kintsugi.models.match.batched import fits, nearest_of_batch, paste_batch, plan_batch
from kintsugi.models.match.keys import KEYS_KINDS, KeysKind, blur_known, standardise
from kintsugi.models.match.patch_swap import hole_of, match_patches, paste_patches
from kintsugi.models.match.pixel.pixel_synthesis import Searched, search_pixels
from kintsugi.models.match.search import METHODS, MOST_EXACT_SCORES, Method
from kintsugi.models.match.windows import PATCH, hole_cells
from kintsugi.models.networks.cells import PIXEL_CHANNELS, features_of, pixels_of
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.models.networks.vgg import FEATURE_CHANNELS
from kintsugi.models.plan.sizes import FIRST_SIDE, GUIDE_SIDE

# Each takes as long as the first match.
MOST_REPEATS = 20
# Above it features hardly count.
MOST_COLOUR = 100


@dataclass(frozen=True)
class MatchingConfig:
    """How a release matches; the defaults are the paper's, in any size that fits a machine.

    Attributes:
        keys: What is compared at the first scale, whose fill is coarse: "plain" features (the
            paper), "standardised" ones, those of an image whose known side is "matched" to
            the fill's blur, or "matched-standardised". Later scales start from a fill that
            has texture, and compare plain ones. What is copied are always the features.
        guard: Cells around the hole that are not copied from. Features see 10 px beyond
            their cell, so with 3 nothing of the hole is in what is copied.
        method: "exact", "approximate", or "auto": exact while that is affordable.
        repeats: How often the first scale is matched again, by what was pasted: the first
            match goes by a coarse fill, whose patches each choose for themselves, and their
            average is dull. Repeated, neighbours come to agree.
        colour: How much the pixels of a cell count against its features where they are
            compared: the ratio of their mean squared lengths where all is known, 0-100.
            Features know textures better than shades. Above 0 the map must hold pixels
            (`kintsugi.models.networks.cells`).
        pixels: Search on to the pixel: the networks fill the first scale, which is small then, as
            a guide, and each scale's hole is filled with pixels that are copied by it
            (`kintsugi.models.match.pixel.pixel_synthesis`; beyond the paper).
    """

    keys: KeysKind = "plain"
    guard: int = 0
    method: Method = "auto"
    repeats: int = 0
    colour: float = 0.0
    pixels: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("keys", self.keys, KEYS_KINDS),
            ("method", self.method, METHODS),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        if self.guard < 0:
            raise ValueError(f"guard={self.guard}: 0 cells or more")
        if not 0 <= self.repeats <= MOST_REPEATS:
            raise ValueError(f"repeats={self.repeats}: 0 to {MOST_REPEATS}")
        if not 0 <= self.colour <= MOST_COLOUR:
            raise ValueError(f"colour={self.colour}: 0 (features alone) to {MOST_COLOUR}")

    @property
    def first_side(self) -> int:
        """The longer side of the first scale, in pixels."""
        return GUIDE_SIDE if self.pixels else FIRST_SIDE

    @property
    def blurs_known(self) -> bool:
        """Whether keys are encoded from an image of their own."""
        return self.keys.startswith("matched")


class Encoded(NamedTuple):
    """An image's cells, and those that are compared in their place: None for themselves."""

    features: Tensor
    keys: Tensor | None


class Matched(NamedTuple):
    """Cells with the hole replaced, and what was copied.

    Attributes:
        features: As in `Encoded`, the hole replaced.
        indices: B h-2 w-2; of the last match.
    """

    features: Tensor
    indices: Tensor


def keys_image(
    config: MatchingConfig, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 3 H W"] | None:
    """The image whose features are compared; None where it is ``image`` itself."""
    return blur_known(image, mask) if config.blurs_known else None


def match(
    config: MatchingConfig,
    encoded: Encoded,
    mask: Float[Tensor, "B 1 H W"],
    *,
    previous: Tensor | None = None,
    seed: int = 0,
) -> Matched:
    """Match one scale and paste.

    Args:
        config: The release's preferences.
        encoded: Features of this scale, and keys if it is the first.
        mask: 1 = hole, at this scale.
        previous: Indices of the scale before; the approximate search starts from them. None at
            the first scale.
        seed: Decides its random candidates.
    """
    keys = _compared(
        encoded.features if encoded.keys is None else encoded.keys,
        mask,
        standardised=previous is None and config.keys.endswith("standardised"),
        colour=config.colour,
    )
    init = None
    if previous is not None:
        rows, columns = previous.shape[-2] + 2, previous.shape[-1] + 2
        init = upsample_matches(previous, (rows, columns), (keys.shape[-2], keys.shape[-1]))
    find, paste = _steps(config, encoded.features, mask, init=init, seed=seed)
    indices = find(keys)
    # Keys of one's own need not live while features are pasted.
    del keys
    features = paste(encoded.features, indices)
    for _ in range(config.repeats if previous is None else 0):
        compared = _compared(features, mask, standardised=False, colour=config.colour)
        indices = find(compared)
        features = paste(features, indices)
    return Matched(features, indices)


def _steps(
    config: MatchingConfig, features: Tensor, mask: Tensor, *, init: Tensor | None, seed: int
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """How keys become indices, and how those are pasted: the same answers on every device."""
    if init is None and _searches_batch(config.method, features):
        plan = plan_batch(hole_of(mask, features), config.guard)
        return partial(nearest_of_batch, plan=plan), partial(paste_batch, plan=plan)
    find = partial(
        match_patches,
        mask=mask,
        guard=config.guard,
        method=config.method,
        init=init,
        seed=seed,
    )
    return find, partial(paste_patches, mask=mask)


def _searches_batch(method: Method, features: Tensor) -> bool:
    """Whether all maps are searched at once: on a GPU, where all scores have room."""
    height, width = features.shape[-2:]
    few = ((height - PATCH + 1) * (width - PATCH + 1)) ** 2 <= MOST_EXACT_SCORES
    wanted = method == "exact" or (method == "auto" and few)
    roomy = min(height, width) >= PATCH and fits(features.shape[1], height, width)
    return features.device.type == "cuda" and wanted and roomy


def search_scale(
    image: Float[Tensor, "1 3 H W"],
    mask: Float[Tensor, "1 1 H W"],
    *,
    guide: Float[Tensor, "1 3 H W"] | None = None,
    encoded: Float[Tensor, "1 C h w"] | None = None,
    previous: Tensor | None = None,
    seed: int = 0,
) -> Searched:
    """Search one scale's pixels.

    Args:
        image: Of this scale, RGB 0-1; its hole is 0 at the first scale, then holds the fill of the
            scale before.
        mask: 1 = hole.
        guide: What Feature2Image drew, at the first scale.
        encoded: Features before the match, at the first scale. Where there are pixels behind them,
            those of the initial fill, the search is guided by the mean of both: two guesses that
            err independently.
        previous: `Searched.sources` of the scale before; None at the first.
        seed: Decides every random choice.

    Returns: The fill, and what was copied where.
    """
    if guide is not None and encoded is not None and encoded.shape[1] > FEATURE_CHANNELS:
        guide = (guide + pixels_of(encoded)) / 2
    begun = image if guide is None else paste_known(guide, image, mask)
    return search_pixels(begun, mask, previous=previous, seed=seed)


def _compared(
    cells: Float[Tensor, "B C h w"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    standardised: bool,
    colour: float,
) -> Float[Tensor, "B K h w"]:
    """What patches are compared by: features, and standardised pixels as far as they count."""
    if not colour:
        features = features_of(cells)
        return standardise(features, mask) if standardised else features
    if standardised:
        # All channels at once: one map and not two.
        joined = standardise(cells, mask)
    else:
        joined = cells.clone()
        joined[:, FEATURE_CHANNELS:] = standardise(cells[:, FEATURE_CHANNELS:], mask)
    known = hole_cells(mask, *cells.shape[-2:]) == 0
    squares = torch.linalg.vector_norm(features_of(joined), dim=1, keepdim=True).square()
    # Chosen, not multiplied, as in `standardise`.
    counts = known & squares.isfinite()
    total = squares.where(counts, 0).sum(dim=(2, 3), keepdim=True)
    length = total / counts.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    joined[:, FEATURE_CHANNELS:] *= (colour * length / PIXEL_CHANNELS).sqrt()
    return joined
