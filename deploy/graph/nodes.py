"""The nodes that compute: Infer, Match and Translate, one replica's worth of each.

Image2Feature -> PatchSwap -> Feature2Image, walked by `kintsugi.deploy.graph.refiner`;
`kintsugi.deploy.app` makes deployments of them. Each computes with an `Inpainter`, or as one
does, so that the graph answers what an `Inpainter` answers.

A node computes one request at a time, with `threads` threads, or several that divide those
(`share_threads`). Serve gives it more so that the next one's arrays travel meanwhile. With
`batch_pixels` the networks take what waits and is of one shape at once. In either case answers
equal those of an `Inpainter` but for rounding: nearly always to 1e-4, no longer to the bit.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.graph.base_node import (
    BoolArray,
    ComputingNode,
    FloatArray,
    IndexArray,
    float_array,
)
from kintsugi.deploy.graph.request_context import RequestContext
from kintsugi.deploy.options import StylizeOptions
from kintsugi.deploy.planning import model_info
from kintsugi.deploy.release_files import local_release
from kintsugi.deploy.settings import AppArgs
from kintsugi.models import matching
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import FEATURE_STRIDE
from kintsugi.models.plan.tiles import TRANSLATOR_TILE
from kintsugi.models.stylize import swap_style
from kintsugi.models.weights import load_release, read_release_config


class Encoded(NamedTuple):
    """Cells (1 C h w) and what is compared in their place: None for themselves."""

    features: FloatArray
    keys: FloatArray | None


class Swapped(NamedTuple):
    """Features after the match, and what was copied where (1 h-2 w-2); not of a transfer."""

    features: FloatArray
    indices: IndexArray | None = None


class Translated(NamedTuple):
    """The image of swapped features, and their indices.

    They come along so that the next scale's match gets them from the Refiner: they are a
    twenty-fourth of the image, and with the features would be a hundred times as much.
    """

    image: FloatArray
    indices: IndexArray | None


class Searched(NamedTuple):
    """One scale filled with copied pixels, as `models.match.pixel.pixel_synthesis.Searched`."""

    image: FloatArray
    sources: IndexArray


# An image, and its mask.
_Masked = tuple[FloatArray, BoolArray]
# What was matched, and which pixels are needed.
_Wanted = tuple[Swapped, BoolArray | None]


class Image2FeatureNode(ComputingNode[Inpainter]):
    """Infer: the features of an image whose hole is filled coarsely first, or is filled."""

    stage = "infer"

    def __init__(self, args: AppArgs) -> None:
        super().__init__(args, partial(_load, args), batch_pixels=args.batch_pixels)

    async def infer(self, context: RequestContext, image: FloatArray, mask: BoolArray) -> Encoded:
        """The first scale: fill the hole of ``image`` coarsely, then encode."""
        given, batch_key = (image, mask), ("infer", image.shape)
        return await self._compute(
            context, self._infer, given, pixels=mask.size, batch_key=batch_key
        )

    async def encode(self, context: RequestContext, image: FloatArray) -> Encoded:
        """A later scale: encode ``image`` as it is, with the last scale's fill in it."""
        pixels, batch_key = math.prod(image.shape[2:]), ("encode", image.shape)
        return await self._compute(context, self._encode, image, pixels=pixels, batch_key=batch_key)

    async def encode_whole(self, context: RequestContext, image: FloatArray) -> FloatArray:
        """Features of an image without a hole: content or style of a transfer."""
        return await self._compute(context, self._encode_whole, image)

    def _infer(self, inpainter: Inpainter, given: list[_Masked]) -> list[Encoded]:
        masks = torch.cat([self._tensor(mask) for _, mask in given])
        return _separate(inpainter.infer(self._together([image for image, _ in given]), masks))

    def _encode(self, inpainter: Inpainter, given: list[FloatArray]) -> list[Encoded]:
        return _separate(inpainter.encode(self._together(given)))

    def _encode_whole(self, inpainter: Inpainter, given: list[FloatArray]) -> list[FloatArray]:
        return [float_array(inpainter.features(self._tensor(image))) for image in given]

    def _together(self, images: list[FloatArray]) -> Tensor:
        return torch.cat([self._tensor(image) for image in images])


class PatchSwapNode(ComputingNode[MatchingConfig]):
    """Match, cells and pixels: has no weights, only the release's way of matching."""

    stage = "match"

    def __init__(self, args: AppArgs) -> None:
        super().__init__(args, _read_matching)

    async def swap(
        self,
        context: RequestContext,
        encoded: Encoded,
        mask: BoolArray,
        previous: IndexArray | None,
        seed: int,
    ) -> Swapped:
        """Features with the hole's patches replaced by known ones.

        Args:
            context: The request's.
            encoded: The feature maps of this scale.
            mask: The mask of this scale.
            previous: Indices of the scale before, which start the approximate search.
            seed: Decides its random choices.
        """

        def swap_each(config: MatchingConfig, given: list[Encoded]) -> list[Swapped]:
            return [self._swap(config, one, mask, previous, seed) for one in given]

        return await self._compute(context, swap_each, encoded)

    async def search(
        self,
        context: RequestContext,
        image: FloatArray,
        mask: BoolArray,
        guide: Translated | None,
        encoded: Encoded | None,
        previous: IndexArray | None,
        seed: int,
    ) -> Searched:
        """The hole of one scale filled with copied pixels.

        Args:
            context: The request's.
            image: The image of this scale.
            mask: The mask of this scale.
            guide: What was drawn, at the first scale.
            encoded: What was matched, at the first scale.
            previous: ``sources`` of the scale before, at a later one.
            seed: Decides every random choice.
        """

        def search_each(config: MatchingConfig, given: list[FloatArray]) -> list[Searched]:
            return [self._search(one, mask, guide, encoded, previous, seed) for one in given]

        return await self._compute(context, search_each, image)

    async def swap_style(
        self,
        context: RequestContext,
        content: FloatArray,
        style: FloatArray,
        options: StylizeOptions,
    ) -> Swapped:
        """The content's features made of the style's patches."""

        def swap_each(config: MatchingConfig, given: list[FloatArray]) -> list[Swapped]:
            return [self._swap_style(one, style, options) for one in given]

        return await self._compute(context, swap_each, content)

    def _swap(
        self,
        config: MatchingConfig,
        encoded: Encoded,
        mask: BoolArray,
        previous: IndexArray | None,
        seed: int,
    ) -> Swapped:
        keys = None if encoded.keys is None else self._tensor(encoded.keys)
        matched = matching.match(
            config,
            matching.Encoded(self._tensor(encoded.features), keys),
            self._tensor(mask),
            previous=None if previous is None else torch.tensor(previous, device=self._device),
            seed=seed,
        )
        return Swapped(
            float_array(matched.features),
            matched.indices.cpu().numpy(),
        )

    def _search(
        self,
        image: FloatArray,
        mask: BoolArray,
        guide: Translated | None,
        encoded: Encoded | None,
        previous: IndexArray | None,
        seed: int,
    ) -> Searched:
        searched = matching.search_scale(
            self._tensor(image),
            self._tensor(mask),
            guide=None if guide is None else self._tensor(guide.image),
            encoded=None if encoded is None else self._tensor(encoded.features),
            previous=None if previous is None else torch.tensor(previous, device=self._device),
            seed=seed,
        )
        return Searched(float_array(searched.image), searched.sources.cpu().numpy())

    def _swap_style(
        self, content: FloatArray, style: FloatArray, options: StylizeOptions
    ) -> Swapped:
        swapped = swap_style(
            self._tensor(content),
            self._tensor(style),
            strength=options.strength,
            seed=options.seed,
        )
        return Swapped(float_array(swapped))


class Feature2ImageNode(ComputingNode[Inpainter]):
    """Translate: the image of a feature map."""

    stage = "translate"

    def __init__(self, args: AppArgs) -> None:
        super().__init__(args, partial(_load, args), batch_pixels=args.batch_pixels)

    async def translate(
        self, context: RequestContext, swapped: Swapped, needed: BoolArray | None
    ) -> Translated:
        """Features to an image of four times the side, where ``needed`` at least."""
        shape = swapped.features.shape
        # A map of several tiles is translated where it is needed, which differs.
        one_tile = max(shape[2:]) <= TRANSLATOR_TILE
        batch_key = shape if one_tile else None
        pixels = FEATURE_STRIDE**2 * math.prod(shape[2:])
        image = await self._compute(
            context, self._translate, (swapped, needed), pixels=pixels, batch_key=batch_key
        )
        return Translated(image, swapped.indices)

    def _translate(self, inpainter: Inpainter, given: list[_Wanted]) -> list[FloatArray]:
        features = torch.cat([self._tensor(swapped.features) for swapped, _ in given])
        needed = given[0][1] if len(given) == 1 else None
        images = inpainter.translate(features, None if needed is None else self._tensor(needed))
        return [float_array(image) for image in torch.split(images, 1)]


def _load(args: AppArgs, uri: str) -> tuple[Inpainter, ModelInfo]:
    with local_release(uri) as folder:
        inpainter, config = load_release(folder, device=args.device, precision=args.precision)
    return inpainter, model_info(config)


def _read_matching(uri: str) -> tuple[MatchingConfig, ModelInfo]:
    with local_release(uri) as folder:
        config = read_release_config(folder)
    return config.matching, model_info(config)


def _separate(encoded: matching.Encoded) -> list[Encoded]:
    """One for each image."""
    features = [float_array(one) for one in torch.split(encoded.features, 1)]
    if encoded.keys is None:
        return [Encoded(one, None) for one in features]
    keys = [float_array(one) for one in torch.split(encoded.keys, 1)]
    return [Encoded(*pair) for pair in zip(features, keys, strict=True)]
