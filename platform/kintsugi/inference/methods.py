"""Ways to fill a hole, pixels in and pixels out; knows no files of photographs and no metrics."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.imaging.arrays import AnyPixels, Mask, Pixels
from kintsugi.imaging.fill_window import fill_within
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.context_encoder import ContextEncoder
from kintsugi.models.networks.smooth_fill import smooth_fill
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.patch_synthesis import SynthesisOptions, synthesise_patches
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, seen_part, tensor_to_image
from kintsugi.models.plan.fill_plan import FillOptions, FillPlan, plan_fill
from kintsugi.models.progress import Progress, no_progress
from kintsugi.models.weights import ReleaseConfig, load_release
from kintsugi.storage.storage import Storage

# (uint8 H W 3 RGB, bool H W with True = hole) -> uint8 H W 3 RGB, known pixels as they were.
Method = Callable[[Pixels, Mask], Pixels]
# The same of photographs as their files have them: of 16 bits, and with pixels that are not seen.
PhotoMethod = Callable[[AnyPixels, Mask], AnyPixels]

# How far OpenCV's methods look around each pixel; what its documentation and most
# comparisons use.
OPENCV_RADIUS_PX = 5
# Patches of 7x7 px, as the publication and the package's own examples compare; its
# default of 31x31 takes several times as long.
PATCHMATCH_RADIUS_PX = 3


class ReleaseMethod:
    """Infer, match, translate with the weights of a release, where its networks are."""

    def __init__(
        self,
        inpainter: Inpainter,
        options: FillOptions = FillOptions(),
        progress: Progress = no_progress,
    ) -> None:
        self.inpainter, self.options, self.progress = inpainter, options, progress

    @overload
    def __call__(self, pixels: Pixels, mask: Mask) -> Pixels: ...

    @overload
    def __call__(self, pixels: AnyPixels, mask: Mask) -> AnyPixels: ...

    def __call__(self, pixels: AnyPixels, mask: Mask) -> AnyPixels:
        """The fill, H W 3, of the depth of ``pixels``, which may say what cannot be seen.

        Only what lies around the hole becomes float and is computed.

        Raises: InvalidInput `options_do_not_fit`: the mask is empty, full or of another size,
            grows over all that can be seen, or has too many scales or parts.
        """
        return fill_within(pixels, mask, self.options.grow_mask, self._fill_pixels)

    def _fill_pixels(self, pixels: AnyPixels, mask: Mask) -> AnyPixels:
        device = next(self.inpainter.parameters()).device
        seen, unseen = seen_part(pixels, device)
        image, hole = image_to_tensor(seen, device), mask_to_tensor(mask, device)
        answer: AnyPixels = tensor_to_image(self.fill(image, hole, unseen), pixels.dtype)
        return answer

    def fill(self, image: Tensor, mask: Tensor, unseen: Tensor | None = None) -> Tensor:
        """1 3 H W, 0-1."""
        plan = self._plan(image, mask, unseen)
        return self.inpainter.fill_plan(plan, self.options.seed, progress=self.progress)

    def to(self, device: torch.device | str) -> None:
        """Move the networks."""
        self.inpainter.to(device)

    def _plan(self, image: Tensor, mask: Tensor, unseen: Tensor | None) -> FillPlan:
        first_side = self.inpainter.matching.first_side
        try:
            return plan_fill(image, mask, self.options, first_side=first_side, unseen=unseen)
        except ValueError as error:
            # A ValueError of what comes after the plan is a bug.
            raise InvalidInput(str(error), code="options_do_not_fit") from error


class CoarseFill(ReleaseMethod):
    """G1 alone: what it fills at the first scale, brought to size; colours as it drew them."""

    def __init__(self, inpainter: Inpainter, options: FillOptions = FillOptions()) -> None:
        super().__init__(inpainter, replace(options, align_colour=False))

    @torch.inference_mode()
    def fill(self, image: Tensor, mask: Tensor, unseen: Tensor | None = None) -> Tensor:
        """G1's fill alone; shapes as `ReleaseMethod.fill`."""
        plan = self._plan(image, mask, unseen)
        answer = plan.image.clone()
        for crop in plan.crops:
            coarse = self.inpainter.image2feature.fill(*crop.inputs(0, None))
            if len(crop.sizes) > 1:
                coarse, _ = crop.inputs(len(crop.sizes) - 1, coarse)
            crop.paste(answer, coarse)
        return answer


class ContextEncoding:
    """One network that draws the hole; see `kintsugi.models.networks.context_encoder`."""

    def __init__(self, network: ContextEncoder) -> None:
        self.network = network.eval()

    @torch.inference_mode()
    def __call__(self, pixels: Pixels, mask: Mask) -> Pixels:
        """Known pixels stay as they are."""
        device = next(self.network.parameters()).device
        image, hole = image_to_tensor(pixels, device), mask_to_tensor(mask, device)
        answer: Pixels = tensor_to_image(self.network.fill(image, hole))
        return answer

    def to(self, device: torch.device | str) -> None:
        """Move the network."""
        self.network.to(device)


class PatchSynthesis:
    """Neural patch synthesis: pixels optimised for minutes; `kintsugi.models.patch_synthesis`."""

    def __init__(
        self, encoder: Vgg19Relu3, options: SynthesisOptions = SynthesisOptions(), *, seed: int = 0
    ) -> None:
        self.encoder, self.options, self.seed = encoder, options, seed

    def __call__(self, pixels: Pixels, mask: Mask) -> Pixels:
        """Raises: ValueError when the mask is empty, full or of another size."""
        device = self.encoder.mean.device
        image, hole = image_to_tensor(pixels, device), mask_to_tensor(mask, device)
        filled = synthesise_patches(self.encoder, image, hole, self.options, seed=self.seed)
        answer: Pixels = tensor_to_image(filled)
        return answer

    def to(self, device: torch.device | str) -> None:
        """Move the encoder."""
        self.encoder.to(device)


def telea(pixels: Pixels, mask: Mask) -> Pixels:
    """Fast marching from the border inwards (Telea 2004), OpenCV's. Raises: ConfigError."""
    return _opencv("INPAINT_TELEA", pixels, mask)


def navier_stokes(pixels: Pixels, mask: Mask) -> Pixels:
    """Lines of equal brightness continued (Bertalmio 2001), OpenCV's. Raises: ConfigError."""
    return _opencv("INPAINT_NS", pixels, mask)


def biharmonic(pixels: Pixels, mask: Mask) -> Pixels:
    """The smoothest surface over the hole (Damelin and Hoang 2018), scikit-image's.

    Raises: ConfigError.
    """
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        raise ConfigError(
            "the method biharmonic needs scikit-image, which is not installed:"
            ' pip install "kintsugi-inpainting[eval]"'
        ) from error
    smooth = inpaint_biharmonic(pixels, mask, channel_axis=2)
    filled = pixels.copy()
    filled[mask] = np.rint(smooth[mask].clip(0, 1) * 255)
    return filled


def patchmatch(pixels: Pixels, mask: Mask) -> Pixels:
    """Patches found by random search (Barnes 2009), PyPatchMatch's. Raises: ConfigError."""
    try:
        from patchmatch import patch_match
    except ImportError as error:
        raise ConfigError(
            "the method patchmatch needs PyPatchMatch, which is not installed:"
            ' pip install "kintsugi-inpainting[eval]"'
        ) from error
    if not patch_match.patchmatch_available:
        raise ConfigError(
            "the method patchmatch needs PyPatchMatch's C library, which cannot be loaded here:"
            " see the warning above, or leave the method out"
        )
    filled: Pixels = patch_match.inpaint(pixels, mask, patch_size=PATCHMATCH_RADIUS_PX)
    return filled


def smooth(pixels: Pixels, mask: Mask) -> Pixels:
    """Colours from around it, without any detail: what G1 begins with, and has to better."""
    return tensor_to_image(smooth_fill(image_to_tensor(pixels), mask_to_tensor(mask)))


# Methods that have networks.
Neural = ReleaseMethod | ContextEncoding | PatchSynthesis
# Methods that need no weights, by their names on the command line.
CLASSICAL: dict[str, Method] = {
    "telea": telea,
    "ns": navier_stokes,
    "patchmatch": patchmatch,
    "biharmonic": biharmonic,
    "smooth": smooth,
}
# The packages that decide what they answer.
CLASSICAL_PACKAGES = {
    "telea": "opencv-python-headless",
    "ns": "opencv-python-headless",
    "patchmatch": "pypatchmatch",
    "biharmonic": "scikit-image",
    "smooth": "torch",
}


def open_release(uri: str) -> tuple[Inpainter, ReleaseConfig]:
    """Load a release from a folder or bucket.

    Raises:
        StorageError: there is no whole release at the URI, or its weights were altered.
    """
    with tempfile.TemporaryDirectory(prefix="kintsugi-release-") as folder:
        Storage(uri).fetch_folder("", Path(folder))
        try:
            return load_release(Path(folder))
        except ValueError as error:
            # The message names the temporary copy; people know the URI.
            raise StorageError(str(error).replace(folder, uri)) from error


def _opencv(flag: str, pixels: Pixels, mask: Mask) -> Pixels:
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "the methods telea and ns need OpenCV, which is not installed:"
            ' pip install "kintsugi-inpainting[eval]"'
        ) from error
    filled: Pixels = cv2.inpaint(
        pixels, mask.astype(np.uint8), OPENCV_RADIUS_PX, getattr(cv2, flag)
    )
    return filled
