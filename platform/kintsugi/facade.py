"""The public class of the package: pictures in and out, as PIL or numpy has them; one page."""

from collections.abc import Callable
from os import PathLike, fspath
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import InvalidInput
from kintsugi.imaging.fill_window import fill_window
from kintsugi.inference.methods import open_release
from kintsugi.models import inpainter as method
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.plan.fill_plan import FillOptions
from kintsugi.models.progress import Step
from kintsugi.models.weights import ReleaseConfig

# PIL's image of mode RGB, RGBA, L or LA, or uint8 H W 3, H W 4 (RGBA) or H W (grey).
Picture = TypeVar("Picture", Image.Image, npt.NDArray[np.uint8])
# PIL's image, white (128 and more) is hole; or bool or uint8 (128 and more) H W, True is hole.
Hole = Image.Image | npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
# Called with how much is done, 0 to 1, on the thread that computes.
OnProgress = Callable[[float], None]

_THRESHOLD = 128
_MODES = ("RGB", "RGBA", "L", "LA")


class Inpainter:
    """Fills holes in pictures and gives them the look of others, with one release.

    One object computes one call at a time; calls from several threads need an object each.

    Attributes:
        release: What the release says of itself: its name, digest, architecture, training.
    """

    def __init__(self, networks: method.Inpainter, release: ReleaseConfig) -> None:
        """Use `load` instead, unless the networks are there already."""
        self.release = release
        self._networks = networks

    @classmethod
    def load(
        cls,
        release: str | PathLike[str] = BUNDLED_RELEASE,
        *,
        device: str = "cpu",
        threads: int | None = None,
    ) -> "Inpainter":
        """Load a release.

        Args:
            release: Folder or URI such as s3://releases/street; else the bundled one.
            device: "cpu", "cuda" or another of PyTorch's.
            threads: Of PyTorch in this process; else its own choice.

        Raises:
            StorageError: There is no whole release, or its weights were altered.
            ConfigError: The URI is of a kind that is not known.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        networks, config = open_release(fspath(release))
        return cls(networks.to(device).eval(), config)

    def fill(
        self,
        image: Picture,
        mask: Hole,
        *,
        grow_mask: int = 0,
        feather: int = 0,
        align_colour: bool = True,
        scales: int | Literal["auto"] = "auto",
        seed: int = 0,
        progress: OnProgress | None = None,
    ) -> Picture:
        """Fill the hole of one picture of any size.

        Memory and time follow the hole, not the picture: only what lies around it is computed.

        Args:
            image: As `Picture`; what it holds inside the hole is not looked at.
            mask: As `Hole`, of the same size; some of it hole, some not.
            grow_mask: Pixels by which the hole grows on every side, 0-64.
            feather: Pixels over which the fill fades out around the hole, 0-64.
            align_colour: Move the fill's colours to those of the known pixels around it.
            scales: How many scales the fill goes through.
            seed: Decides every random choice.
            progress: Called with how much is done, 0 to 1.

        Returns:
            A new picture of the same kind, mode and size, with the same profile and metadata,
            equal to ``image`` outside the hole (after growing and feathering); opaque in it.

        Raises: InvalidInput: The picture, the mask or an option cannot be used; the message says
            why and what to do.
        """
        pixels, hole = _pixels(image, "image"), _hole(mask)
        _check(pixels, hole)
        top, bottom, left, right = fill_window(hole, max(0, grow_mask))
        window = (slice(top, bottom), slice(left, right))
        colours, device = _colours(pixels[window]), next(self._networks.parameters()).device
        try:
            filled = self._networks.inpaint(
                image_to_tensor(colours, device),
                mask_to_tensor(np.ascontiguousarray(hole[window]), device),
                FillOptions(scales, grow_mask, feather, align_colour, seed),
                progress=_fraction(progress),
            )
        except ValueError as error:
            raise InvalidInput(str(error), code="options_do_not_fit") from error
        answer = pixels.copy()
        answer[window] = _like(pixels[window], tensor_to_image(filled), hole[window])
        if progress is not None:
            progress(1.0)
        return _returned(image, answer)

    def stylize(
        self, content: Picture, style: Picture, *, strength: float = 1.0, seed: int = 0
    ) -> Picture:
        """Give one picture the look of another.

        Args:
            content: As `Picture`, any size; all of it is computed.
            style: As `Picture`, at least 16 px a side.
            strength: 0 to 1; 0 is the content as the networks see it, 1 all style.
            seed: Decides every random choice.

        Returns: A new picture of the content's kind, mode and size.

        Raises: InvalidInput: A picture or the strength cannot be used.
        """
        pixels, device = _pixels(content, "content"), next(self._networks.parameters()).device
        try:
            styled = self._networks.stylize(
                image_to_tensor(_colours(pixels), device),
                image_to_tensor(_colours(_pixels(style, "style")), device),
                strength=float(strength),
                seed=seed,
            )
        except ValueError as error:
            raise InvalidInput(str(error), code="options_do_not_fit") from error
        answer = _like(pixels, tensor_to_image(styled), np.zeros(pixels.shape[:2], np.bool_))
        return _returned(content, answer)


def _pixels(picture: Picture, name: str) -> npt.NDArray[np.uint8]:
    """uint8 H W or H W C, with 2 to 4 channels."""
    if isinstance(picture, Image.Image):
        if picture.mode not in _MODES:
            raise InvalidInput(
                f"the {name} is of PIL's mode {picture.mode}",
                code=f"{name}_mode",
                hint=f"convert it to one of {', '.join(_MODES)}",
            )
        return np.asarray(picture)
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise InvalidInput(
            f"the {name} is {picture.dtype} of shape {picture.shape}",
            code=f"{name}_shape",
            hint="give uint8 of height x width, or height x width x 3 (RGB) or 4 (RGBA)",
        )
    return picture


def _hole(mask: Hole) -> npt.NDArray[np.bool_]:
    if isinstance(mask, Image.Image):
        return np.asarray(mask.convert("L")) >= _THRESHOLD
    if mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8):
        raise InvalidInput(
            f"the mask is {mask.dtype} of shape {mask.shape}",
            code="mask_shape",
            hint="give bool (True is hole) or uint8 (128 and more is hole) of height x width",
        )
    return mask.astype(np.bool_) if mask.dtype == np.bool_ else mask >= _THRESHOLD


def _check(pixels: npt.NDArray[np.uint8], hole: npt.NDArray[np.bool_]) -> None:
    if pixels.shape[:2] != hole.shape:
        raise InvalidInput(
            f"the mask is {hole.shape[1]}x{hole.shape[0]} px but the image is"
            f" {pixels.shape[1]}x{pixels.shape[0]}",
            code="size_mismatch",
            hint="give both at the same size",
        )
    if not hole.any() or hole.all():
        what = "covers the whole image" if hole.any() else "is empty"
        raise InvalidInput(f"the mask {what}", code="mask_full" if hole.any() else "mask_empty")


def _colours(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGB, H W 3, without alpha."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] < 3:
        return np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def _like(
    pixels: npt.NDArray[np.uint8],
    colours: npt.NDArray[np.uint8],
    hole: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint8]:
    """RGB in the channels of ``pixels``, whose alpha stays but for the hole, which is opaque."""
    answer = pixels.copy()
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        answer[..., :3] = colours
    else:
        # Of equal channels the same value: known pixels stay as they are.
        grey = np.asarray(Image.fromarray(colours).convert("L"))
        answer[...] = grey if pixels.ndim == 2 else np.dstack([grey, pixels[..., 1:]])
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        answer[..., -1] = np.where(hole, 255, pixels[..., -1])
    return answer


def _returned(given: Picture, answer: npt.NDArray[np.uint8]) -> Picture:
    if not isinstance(given, Image.Image):
        return answer
    image = Image.fromarray(answer, given.mode)
    # Profile, EXIF, resolution: what `save` writes when it is named.
    image.info = dict(given.info)
    return image


def _fraction(progress: OnProgress | None) -> Callable[[Step], None]:
    if progress is None:
        return lambda step: None
    return lambda step: progress((step.crop + step.scale / step.scales) / step.crops)
