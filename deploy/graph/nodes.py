"""The nodes that compute: Infer, Match and Translate, one replica's worth of each.

Image2Feature -> PatchSwap -> Feature2Image, walked by `deploy.graph.refiner`; `deploy.app` makes
deployments of them. Each computes with an `Inpainter`, or as one does, so that the graph
answers what an `Inpainter` answers.

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

from deploy.engine import ModelInfo
from deploy.graph.base_node import BoolArray, ComputingNode, FloatArray, IndexArray, float_array
from deploy.graph.request_context import Call
from deploy.options import StylizeOptions
from deploy.planning import model_info
from deploy.release_files import local_release
from deploy.settings import AppArgs
from models import matching
from models.inpainter import Inpainter
from models.matching import MatchingConfig
from models.networks.vgg import FEATURE_STRIDE
from models.plan.tiles import TRANSLATOR_TILE
from models.stylize import swap_style
from models.weights import load_release, read_release_config


class Encoded(NamedTuple):
    """Cells (1 C h w) and what is compared in their place: None for themselves."""

    features: FloatArray
    keys: FloatArray | None


class Swapped(NamedTuple):
    """Features after the match, what was copied where, and what was there before.

    Of a transfer only the features.
    """

    features: FloatArray
    # 1 h-2 w-2
    indices: IndexArray | None = None
    # 1 4 2h 2w; see `models.matching.Matched`.
    guide: FloatArray | None = None


class Translated(NamedTuple):
    """The image of swapped features, and their indices.

    They come along so that the next scale's match gets them from the Refiner: they are a
    twenty-fourth of the image, and with the features would be a hundred times as much.
    """

    image: FloatArray
    indices: IndexArray | None


# An image, and its mask.
_Masked = tuple[FloatArray, BoolArray]
# What was matched, and which pixels are needed.
_Wanted = tuple[Swapped, BoolArray | None]


class Image2FeatureNode(ComputingNode[Inpainter]):
    """Infer: the features of an image whose hole is filled coarsely first, or is filled."""

    stage = "infer"

    def __init__(self, args: AppArgs) -> None:
        super().__init__(args, partial(_load, args), batch_pixels=args.batch_pixels)

    async def infer(self, call: Call, image: FloatArray, mask: BoolArray) -> Encoded:
        """The first scale: fill the hole of ``image`` coarsely, then encode."""
        given, alike = (image, mask), ("infer", image.shape)
        return await self._compute(call, self._infer, given, pixels=mask.size, alike=alike)

    async def encode(self, call: Call, image: FloatArray) -> Encoded:
        """A later scale: encode ``image`` as it is, with the last scale's fill in it."""
        pixels, alike = math.prod(image.shape[2:]), ("encode", image.shape)
        return await self._compute(call, self._encode, image, pixels=pixels, alike=alike)

    async def encode_whole(self, call: Call, image: FloatArray) -> FloatArray:
        """Features of an image without a hole: content or style of a transfer."""
        return await self._compute(call, self._encode_whole, image)

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
    """Match: has no weights, only the release's way of matching."""

    stage = "match"

    def __init__(self, args: AppArgs) -> None:
        super().__init__(args, _read_matching)

    async def swap(
        self,
        call: Call,
        encoded: Encoded,
        mask: BoolArray,
        previous: IndexArray | None,
        seed: int,
    ) -> Swapped:
        """Features with the hole's patches replaced by known ones.

        Args:
            call: Of which request.
            encoded: Of this scale.
            mask: Of this scale.
            previous: Indices of the scale before, which start the approximate search.
            seed: Decides its random choices.
        """

        def swap_each(config: MatchingConfig, given: list[Encoded]) -> list[Swapped]:
            return [self._swap(config, one, mask, previous, seed) for one in given]

        return await self._compute(call, swap_each, encoded)

    async def swap_style(
        self, call: Call, content: FloatArray, style: FloatArray, options: StylizeOptions
    ) -> Swapped:
        """The content's features made of the style's patches."""

        def swap_each(config: MatchingConfig, given: list[FloatArray]) -> list[Swapped]:
            return [self._swap_style(one, style, options) for one in given]

        return await self._compute(call, swap_each, content)

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
            None if matched.guide is None else float_array(matched.guide),
        )

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

    async def translate(self, call: Call, swapped: Swapped, needed: BoolArray | None) -> Translated:
        """Features to an image of four times the side, where ``needed`` at least."""
        shape = swapped.features.shape
        # A map of several tiles is translated where it is needed, which differs.
        one_tile = max(shape[2:]) <= TRANSLATOR_TILE
        alike = (shape, swapped.guide is None) if one_tile else None
        pixels = FEATURE_STRIDE**2 * math.prod(shape[2:])
        image = await self._compute(
            call, self._translate, (swapped, needed), pixels=pixels, alike=alike
        )
        return Translated(image, swapped.indices)

    def _translate(self, inpainter: Inpainter, given: list[_Wanted]) -> list[FloatArray]:
        features = torch.cat([self._tensor(swapped.features) for swapped, _ in given])
        known = [self._tensor(one.guide) for one, _ in given if one.guide is not None]
        needed = given[0][1] if len(given) == 1 else None
        images = inpainter.translate(
            features,
            None if needed is None else self._tensor(needed),
            guide=torch.cat(known) if known else None,
        )
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
