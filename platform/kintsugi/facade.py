"""The public class of the package: pictures in and out, as PIL or numpy has them; one page."""

from collections.abc import Callable
from dataclasses import asdict
from os import PathLike, fspath
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageOps

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import InvalidInput
from kintsugi.imaging.arrays import AnyPixels, Mask
from kintsugi.imaging.colour_modes import BROKEN_FILE_ERRORS, DecodedImage, orientation_of
from kintsugi.imaging.holed import check_hole
from kintsugi.imaging.mask_decoding import hole_in_alpha, hole_in_grey, marked_hole
from kintsugi.imaging.metadata.exif_block import made_upright, without_prefix
from kintsugi.imaging.photo_options import FillChoices, MaskConvention, MaskOptions, StyleChoices
from kintsugi.imaging.photograph import as_seen, is_colourless
from kintsugi.imaging.saving import changed_pixels, grey_of
from kintsugi.inference.methods import ReleaseMethod, open_release
from kintsugi.models import inpainter as method
from kintsugi.models.pixels import image_to_tensor, tensor_to_image
from kintsugi.models.plan.fill_plan import FillOptions
from kintsugi.models.progress import Step
from kintsugi.models.weights import ReleaseConfig

# PIL's image of mode RGB, RGBA, L or LA, or uint8 H W 3, H W 4 (RGBA) or H W (grey). PIL's is taken
# as it is displayed: turned as its EXIF data asks for, and one with a transparent colour (PNG's
# tRNS) as RGBA or LA.
Picture = TypeVar("Picture", Image.Image, npt.NDArray[np.uint8])
# PIL's image of mode 1, L, LA, P, RGB or RGBA; or bool (as of mode 1) or uint8 H W, or uint8 H W 3
# or H W 4 (RGBA).
Hole = Image.Image | npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
# Called with how much is done, 0 to 1, on the thread that computes.
OnProgress = Callable[[float], None]

_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# TIFF's tags of how and where pixels are stored, which are others in the next file.
_OF_STORAGE = {
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323),
    *(324, 325, 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 34675),
}
_MODES = ("RGB", "RGBA", "L", "LA")
_MASK_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


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
            threads: The threads of PyTorch in this process; else its own choice.

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
        mask: Hole | None = None,
        *,
        mask_convention: MaskConvention = "white",
        invert_mask: bool = False,
        mask_threshold: int | Literal["auto"] = "auto",
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
            image: As `Picture`; what it holds inside the hole, or cannot be seen, is not looked at.
            mask: As `Hole`, of the same size; some of it hole, some not. None: what is erased in
                ``image`` itself, with the convention alpha.
            mask_convention: What marks the hole: white, or True (transparent ground counts as
                black); black, or False (transparent ground counts as white); alpha, what is erased;
                painted, strokes of any colour on a transparent ground.
            invert_mask: Swap hole and known.
            mask_threshold: How strongly a pixel must be marked to be hole, 1-255; "auto": 128 of a
                mask with hard edges, 16 of one with smooth edges, and of alpha and painted all that
                was touched.
            grow_mask: Pixels by which the hole grows on every side, 0-64.
            feather: Pixels over which the fill fades out around the hole, 0-64.
            align_colour: Move the fill's colours to those of the known pixels around it.
            scales: How many scales the fill goes through.
            seed: Decides every random choice.
            progress: Called with how much is done, 0 to 1.

        Returns:
            A new picture of the same kind, mode and size as ``image`` is displayed. PIL's has its
            ``info`` (profile, resolution) and ``getexif()``, of which PIL's ``save`` writes what
            it is given, such as ``exif=picture.getexif()``. Outside the hole (grown and feathered)
            it equals ``image``, and is as transparent; with the convention alpha the hole is
            opaque.

        Raises: InvalidInput: The picture, the mask or an option cannot be used; the message says
            why and what to do.
        """
        given, image = image, _as_displayed(image)
        pixels = _pixels(image, "image")
        marks = MaskOptions(mask_convention, invert_mask, mask_threshold, grow_mask, feather)
        chosen = FillChoices(align_colour, scales, seed)
        hole = _hole(mask, pixels, marks)
        check_hole(hole, *pixels.shape[:2])
        options = FillOptions(grow_mask=marks.grow_mask, feather=marks.feather, **asdict(chosen))
        filled = ReleaseMethod(self._networks, options, _fraction(progress))(_seen(pixels), hole)
        alpha = _alpha(pixels)
        if mask_convention == "alpha" and alpha is not None:
            # Where transparency meant hole, the filled hole would not be seen.
            alpha = np.where(hole, np.uint8(255), alpha)
        if progress is not None:
            progress(1.0)
        return _returned(given, image, _composed(pixels, filled, alpha))

    def stylize(
        self,
        content: Picture,
        style: Picture,
        *,
        strength: float = 1.0,
        seed: int = 0,
        progress: OnProgress | None = None,
    ) -> Picture:
        """Give one picture the look of another.

        Args:
            content: As `Picture`, any size; all of it is computed. What cannot be seen stays.
            style: As `Picture`, at least 16 px a side; what cannot be seen of it is black.
            strength: 0 to 1; 0 is the content as the networks see it, 1 all style.
            seed: Decides every random choice.
            progress: Called with how much is done, 0 to 1.

        Returns: A new picture of the content's kind, mode and size.

        Raises: InvalidInput: A picture or the strength cannot be used.
        """
        given, content, style = content, _as_displayed(content), _as_displayed(style)
        chosen = StyleChoices(strength, seed)
        pixels, device = _pixels(content, "content"), next(self._networks.parameters()).device
        try:
            styled = self._networks.stylize(
                image_to_tensor(_seen(pixels)[..., :3], device),
                image_to_tensor(_seen(_pixels(style, "style"))[..., :3], device),
                strength=float(chosen.strength),
                seed=chosen.seed,
                progress=_fraction(progress),
            )
        except ValueError as error:
            raise InvalidInput(str(error), code="options_do_not_fit") from error
        if progress is not None:
            progress(1.0)
        answer = _composed(pixels, tensor_to_image(styled), _alpha(pixels))
        return _returned(given, content, answer)


def _upright(picture: Any) -> Any:
    """As files are read: photographs of phones lie on their side, and their EXIF data says so."""
    if isinstance(picture, Image.Image) and orientation_of(picture) != 1:
        return ImageOps.exif_transpose(picture)
    return picture


def _as_displayed(picture: Any) -> Any:
    """Upright, and with a channel for its transparency where one colour means that.

    A fill may have that very colour, and would be transparent.
    """
    picture = _upright(picture)
    if _has_transparent_colour(picture):
        return picture.convert("LA" if picture.mode == "L" else "RGBA")
    return picture


def _has_transparent_colour(picture: Any) -> bool:
    return (
        isinstance(picture, Image.Image)
        and picture.mode in ("L", "RGB")
        and picture.has_transparency_data
    )


def _pixels(picture: Picture, name: str) -> npt.NDArray[np.uint8]:
    """uint8 H W or H W C, with 2 to 4 channels, and some pixels.

    Raises: InvalidInput `{name}_type`, `{name}_mode`, `{name}_shape`, `{name}_empty`.
    """
    _check_type(picture, name)
    if isinstance(picture, Image.Image):
        if picture.mode not in _MODES:
            raise InvalidInput(
                f"the {name} is of PIL's mode {picture.mode}",
                code=f"{name}_mode",
                hint=f"convert it to one of {', '.join(_MODES)}",
            )
        return np.asarray(picture)
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if 0 in picture.shape[:2]:
        raise InvalidInput(
            f"the {name} has no pixels: its shape is {picture.shape}",
            code=f"{name}_empty",
            hint="give a picture of at least 1x1 px",
        )
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise InvalidInput(
            f"the {name} is {picture.dtype} of shape {picture.shape}",
            code=f"{name}_shape",
            hint="give uint8 of height x width, or height x width x 3 (RGB) or 4 (RGBA)",
        )
    return picture


def _check_type(picture: Any, name: str) -> None:
    if not isinstance(picture, (Image.Image, np.ndarray)):
        raise InvalidInput(
            f"the {name} is of type {type(picture).__name__}",
            code=f"{name}_type",
            hint="open a file with PIL.Image.open first, or give a numpy array of uint8",
        )


def _hole(mask: Hole | None, pixels: npt.NDArray[np.uint8], options: MaskOptions) -> Mask:
    if mask is None:
        alpha = _alpha(pixels)
        if options.mask_convention != "alpha" or alpha is None:
            raise InvalidInput(
                "the image has no transparency to take the hole from"
                if options.mask_convention == "alpha"
                else "there is no mask",
                code="mask_missing",
                hint="give one, or a picture whose hole is transparent and mask_convention='alpha'",
            )
        return hole_in_alpha(alpha, options)
    marks = _marks(_upright(mask))
    if marks.ndim == 2 and options.mask_convention in ("white", "black"):
        return hole_in_grey(marks, options)
    return marked_hole(DecodedImage(_colours(marks), _alpha(marks), None, "", ()), options)


def _marks(mask: Hole) -> npt.NDArray[np.uint8]:
    """uint8 H W or H W C, with 2 to 4 channels."""
    _check_type(mask, "mask")
    if isinstance(mask, Image.Image):
        if mask.mode not in _MASK_MODES:
            raise InvalidInput(
                f"the mask is of PIL's mode {mask.mode}",
                code="mask_mode",
                hint=f"convert it to one of {', '.join(_MASK_MODES)}",
            )
        if mask.mode == "P" or _has_transparent_colour(mask):
            return np.asarray(mask.convert("RGBA"))
        return np.asarray(mask.convert("L") if mask.mode == "1" else mask)
    channels = mask.shape[2] if mask.ndim == 3 else 1
    if mask.ndim == 2 and mask.dtype == np.bool_:
        return mask.astype(np.uint8) * np.uint8(255)
    if mask.dtype != np.uint8 or mask.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise InvalidInput(
            f"the mask is {mask.dtype} of shape {mask.shape}",
            code="mask_shape",
            hint="give bool or uint8 of height x width, or uint8 of height x width x 3 (RGB) or 4"
            " (RGBA)",
        )
    marks = mask.astype(np.uint8, copy=False)
    return marks[..., 0] if channels == 1 and mask.ndim == 3 else marks


def _colours(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGB, H W 3, without alpha."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] < 3:
        return np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def _alpha(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """A view of the transparency, H W; None where there is none."""
    return pixels[..., -1] if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else None


def _seen(pixels: npt.NDArray[np.uint8]) -> AnyPixels:
    """As `as_seen`: what is filled from."""
    colours, alpha = _colours(pixels), _alpha(pixels)
    return colours if alpha is None else as_seen(colours, alpha)


def _composed(
    pixels: npt.NDArray[np.uint8],
    filled: AnyPixels,
    alpha: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.uint8]:
    """The picture with the fill (H W 3) in its own channels, by the rules of files.

    Args:
        pixels: As given; what the fill left alone stays as it is stored.
        filled: RGB.
        alpha: The answer's transparency, H W; None where the picture has none.
    """
    own = _alpha(pixels)
    channels = (1 if pixels.ndim == 2 else pixels.shape[2]) - (own is not None)
    if channels == 1 or is_colourless(pixels[..., :3], own):
        filled = np.repeat(grey_of(filled)[..., None], 3, axis=2)
    changed = changed_pixels(filled, _seen(pixels)[..., :3], own, alpha)
    answer = pixels.copy()
    planes = answer.reshape(*changed.shape, -1)
    planes[..., :channels][changed] = filled[changed][:, :channels]
    if alpha is not None:
        planes[..., -1] = alpha
    return answer


def _returned(given: Picture, displayed: Picture, answer: npt.NDArray[np.uint8]) -> Picture:
    """The answer as a picture of the kind that was given, and what that said of itself."""
    if not isinstance(given, Image.Image) or not isinstance(displayed, Image.Image):
        return answer
    image = Image.fromarray(answer, displayed.mode)
    image.info = dict(displayed.info)
    if exif := _exif_of(given):
        image.info["exif"] = exif
    return image


def _exif_of(image: Image.Image) -> bytes:
    """What ``getexif`` says now, for an upright picture; as of files without a thumbnail.

    What was read and not changed is corrected in place: cameras' notes hold offsets.
    """
    stored = image.info.get("exif", b"")
    try:
        before, now = Image.Exif(), image.getexif()
        before.load(stored)
        turned = orientation_of(image) >= 5
        if stored and _tags(before) == _tags(now):
            return _upright_block(stored, turned=turned)
        after = Image.Exif()
        for tag, value in now.items():
            if tag not in (*_OF_STORAGE, *_IFDS):
                after[tag] = value
        for ifd in _IFDS:
            after.get_ifd(ifd).update(now.get_ifd(ifd))
        return _upright_block(after.tobytes(), turned=turned) if any(_tags(after)) else b""
    except BROKEN_FILE_ERRORS:
        # As written by some cameras and editors.
        return bytes(stored)


def _upright_block(exif: bytes, *, turned: bool) -> bytes:
    return b"Exif\0\0" + made_upright(without_prefix(exif), turned=turned)


def _tags(exif: Image.Exif) -> tuple[dict[int, Any], ...]:
    own = {tag: value for tag, value in exif.items() if tag not in _IFDS}
    return own, *(dict(exif.get_ifd(ifd)) for ifd in _IFDS)


def _fraction(progress: OnProgress | None) -> Callable[[Step], None]:
    if progress is None:
        return lambda step: None
    return lambda step: progress(step.fraction)
