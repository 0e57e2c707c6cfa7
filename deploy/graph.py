"""The nodes that compute: Infer, Match and Translate, one replica's worth of each.

Image2Feature -> PatchSwap -> Feature2Image, walked by `deploy.refiner`; `deploy.app` makes
deployments of them. Each computes with an `Inpainter`, or as one does, so that the graph
answers what an `Inpainter` answers.

A node computes one request at a time, with `threads` threads. Serve gives it more than
one so that the next one's arrays travel meanwhile.
"""

from typing import NamedTuple

import torch

from deploy.engine import ModelInfo
from deploy.filling import model_info
from deploy.node import BoolArray, FloatArray, IndexArray, Node, float_array
from deploy.options import StylizeOptions
from deploy.release import local_release
from deploy.settings import AppArgs
from models import matching
from models.inpainter import Inpainter
from models.stylize import swap_style
from models.weights import load_release, read_release_config


class Encoded(NamedTuple):
    """Features (1 256 h w) and what is compared in their place: None for themselves."""

    features: FloatArray
    keys: FloatArray | None


class Swapped(NamedTuple):
    """Features after the match, and what was copied where (1 h-2 w-2); None for a transfer."""

    features: FloatArray
    indices: IndexArray | None


class Translated(NamedTuple):
    """The image of swapped features, and their indices.

    They come along so that the next scale's match gets them from the Refiner: they are a
    twenty-fourth of the image, and with the features would be a hundred times as much.
    """

    image: FloatArray
    indices: IndexArray | None


class Image2FeatureNode(Node):
    """Infer: the features of an image whose hole is filled coarsely first, or is filled."""

    stage = "infer"

    def __init__(self, args: AppArgs) -> None:
        self._inpainter, model = _load(args)
        super().__init__(args, model)

    def infer(self, image: FloatArray, mask: BoolArray) -> Encoded:
        """The first scale: fill the hole of ``image`` coarsely, then encode."""
        with self._compute():
            return _encoded(self._inpainter.infer(self._tensor(image), self._tensor(mask)))

    def encode(self, image: FloatArray, mask: BoolArray) -> Encoded:
        """A later scale: encode ``image`` as it is, with the last scale's fill in it."""
        with self._compute():
            return _encoded(self._inpainter.encode(self._tensor(image), self._tensor(mask)))

    def encode_whole(self, image: FloatArray) -> FloatArray:
        """Features of an image without a hole: content or style of a transfer."""
        with self._compute():
            return float_array(self._inpainter.features(self._tensor(image)))


class PatchSwapNode(Node):
    """Match: has no weights, only the release's way of matching."""

    stage = "match"

    def __init__(self, args: AppArgs) -> None:
        with local_release(args.release) as folder:
            config = read_release_config(folder)
        super().__init__(args, model_info(config))
        self._matching = config.matching

    def swap(
        self, encoded: Encoded, mask: BoolArray, previous: IndexArray | None, seed: int
    ) -> Swapped:
        """Features with the hole's patches replaced by known ones.

        Args:
            encoded: Of this scale.
            mask: Of this scale.
            previous: Indices of the scale before, which start the approximate search.
            seed: Decides its random choices.
        """
        keys = None if encoded.keys is None else self._tensor(encoded.keys)
        with self._compute():
            matched = matching.match(
                self._matching,
                matching.Encoded(self._tensor(encoded.features), keys),
                self._tensor(mask),
                previous=None if previous is None else torch.tensor(previous, device=self._device),
                seed=seed,
            )
            return Swapped(float_array(matched.features), matched.indices.cpu().numpy())

    def swap_style(
        self, content: FloatArray, style: FloatArray, options: StylizeOptions
    ) -> Swapped:
        """The content's features made of the style's patches."""
        with self._compute():
            swapped = swap_style(
                self._tensor(content),
                self._tensor(style),
                strength=options.strength,
                seed=options.seed,
            )
            return Swapped(float_array(swapped), None)


class Feature2ImageNode(Node):
    """Translate: the image of a feature map."""

    stage = "translate"

    def __init__(self, args: AppArgs) -> None:
        self._inpainter, model = _load(args)
        super().__init__(args, model)

    def translate(self, swapped: Swapped, needed: BoolArray | None) -> Translated:
        """Features to an image of four times the side, where ``needed`` at least."""
        with self._compute():
            image = self._inpainter.translate(
                self._tensor(swapped.features), None if needed is None else self._tensor(needed)
            )
            return Translated(float_array(image), swapped.indices)


def _load(args: AppArgs) -> tuple[Inpainter, ModelInfo]:
    with local_release(args.release) as folder:
        inpainter, config = load_release(folder, device=args.device, precision=args.precision)
    return inpainter, model_info(config)


def _encoded(encoded: matching.Encoded) -> Encoded:
    keys = None if encoded.keys is None else float_array(encoded.keys)
    return Encoded(float_array(encoded.features), keys)
