"""A photograph's file as it was: what is filled, and all that its fill's file is to have again."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, JpegImagePlugin

from kintsugi.imaging.colour_modes import (
    BROKEN_FILE_ERRORS,
    DecodedImage,
    orientation_of,
    sample_bits,
    to_rgb,
    upright,
)
from kintsugi.imaging.encoders.deep_samples import read_deep
from kintsugi.imaging.headers import is_lossless_webp
from kintsugi.imaging.limits import ImageLimits
from kintsugi.imaging.metadata.collect import read_tags
from kintsugi.imaging.metadata.tags import Tags
from kintsugi.imaging.opening import open_image

# How far around a half-transparent pixel others say what colour it is seen in.
_SEEN_REACH = 8
# Of TIFF's tag 338: the fourth channel is transparency, and the colours were multiplied by it.
_PREMULTIPLIED = 1
# Rows that are divided at a time: memory.
_BAND = 256
# Colour types of PNG without colour.
_PNG_GREY = (0, 4)
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class JpegCoding:
    """How a JPEG was coded: quantisation tables, chroma sampling as Pillow names it, scans."""

    tables: dict[int, list[int]]
    subsampling: int
    progressive: bool


@dataclass(frozen=True)
class Photograph:
    """A decoded file, upright.

    Attributes:
        pixels: What is seen and filled: uint8 or uint16, H W 3, RGB; H W 4 where some pixels
            are unseen, 0 in the fourth channel.
        alpha: uint8 H W, 255 = opaque; None when the file has no transparency.
        samples: As the file has them: bool (mode 1), grey H W (L), indices (P), H W 3 (RGB), H W 4
            (CMYK); uint16 where it has more than 8 bits. Not looked at where a fill changes them.
        deep_alpha: uint16 H W, of a file of 16 bits.
        mode: 1, L, P, RGB or CMYK.
        palette: uint8 N 4, RGBA, of mode P.
        is_colourless: Every pixel is grey, whatever the mode.
        format: As `kintsugi.imaging.formats` names it.
        tags: What the file says next to its pixels.
        jpeg: How a JPEG was coded.
        lossless: A WebP that was; a JPEG 2000 without boxes is "bare".
        tiff: A TIFF's own bytes; all its tags are kept.
        notes: What of the file is not kept whatever is written, one short English clause each.
    """

    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    alpha: npt.NDArray[np.uint8] | None
    samples: Samples
    deep_alpha: npt.NDArray[np.uint16] | None
    mode: str
    palette: npt.NDArray[np.uint8] | None
    is_colourless: bool
    format: str
    tags: Tags
    jpeg: JpegCoding | None
    lossless: bool
    is_bare: bool
    tiff: bytes | None
    notes: tuple[str, ...]

    @property
    def seen(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """The colours that are filled from, H W 3."""
        return self.pixels[..., :3]

    @property
    def depth(self) -> int:
        """Bits of a sample: 1, 8 or 16."""
        return 1 if self.mode == "1" else 8 * self.samples.dtype.itemsize

    def opaque_where(self, hole: npt.NDArray[np.bool_]) -> "Photograph":
        """Where transparency meant hole, the filled hole has none: it would not be seen."""
        if self.alpha is None:
            return self
        deep = self.deep_alpha
        return replace(
            self,
            alpha=np.where(hole, np.uint8(255), self.alpha),
            deep_alpha=None if deep is None else np.where(hole, np.uint16(65_535), deep),
        )


def open_photograph(
    data: bytes, limits: ImageLimits = ImageLimits(), *, name: str = "image"
) -> Photograph:
    """Decode a file of any of the formats so that nothing of it is lost.

    Raises: InputError: as `kintsugi.imaging.codec.decode_image`.
    """
    format, image, notes = open_image(data, limits, name)
    decoded = to_rgb(image, data, format, name)
    turned = orientation_of(image)
    tags = read_tags(image, data, format, orientation=turned)
    mode, samples, palette = _own_samples(upright(image, turned))
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = decoded.pixels
    deep_alpha = None
    if samples.dtype == np.uint16:
        pixels = np.repeat(samples[..., None], 3, axis=2).astype(np.uint16)
    elif (
        mode in ("L", "RGB")
        and format in ("png", "tiff")
        and sample_bits(image, data, format) == 16
    ):
        deep = read_deep(data, image.height, image.width)
        if deep is None:
            samples = decoded.pixels if mode == "RGB" else samples
        else:
            deep = _turned(deep, turned)
            if format == "tiff" and image.tag_v2.get(338) == (_PREMULTIPLIED,):  # type: ignore[attr-defined]
                deep = _divided_by_alpha(deep)
            pixels = samples = np.ascontiguousarray(deep[..., :3])
            mode = "RGB"
            # A fourth channel that is no transparency is none that is shown.
            if deep.shape[2] == 4 and decoded.alpha is not None:
                deep_alpha = np.ascontiguousarray(deep[..., 3])
            if data[25] in _PNG_GREY if format == "png" else image.mode in ("L", "LA"):
                mode, samples = "L", np.ascontiguousarray(samples[..., 0])
    elif mode == "RGB":
        samples = decoded.pixels
    if image.mode == "PA":
        notes += ("palette with a channel of transparency converted to colour",)
    notes += _kept_notes(decoded.notes, mode, samples)
    photograph = Photograph(
        pixels=pixels,
        alpha=decoded.alpha,
        samples=samples,
        deep_alpha=deep_alpha,
        mode=mode,
        palette=palette,
        is_colourless=is_colourless(pixels, decoded.alpha),
        format=format,
        tags=replace(tags, notes=()),
        jpeg=_jpeg_coding(image, turned) if format == "jpeg" else None,
        lossless=format == "webp" and is_lossless_webp(data),
        is_bare=format == "jp2" and data[:4] == b"\xff\x4f\xff\x51",
        tiff=data if format == "tiff" else None,
        notes=tuple(dict.fromkeys((*notes, *tags.notes))),
    )
    if decoded.alpha is None:
        return photograph
    return replace(photograph, pixels=as_seen(photograph.pixels, decoded.alpha))


def _kept_notes(notes: tuple[str, ...], mode: str, samples: Samples) -> tuple[str, ...]:
    """Those that hold for a file that is written again in its own mode and depth."""
    is_deep = samples.dtype == np.uint16
    kept = []
    for note in notes:
        bits, _, reduced = note.partition("-bit samples reduced")
        if reduced and is_deep:
            kept += [] if bits == "16" else [f"{bits}-bit samples are kept in 16 bits"]
        elif reduced or (mode != "CMYK" and not note.startswith("colour profile dropped")):
            kept.append(note)
    return tuple(kept)


def _own_samples(
    image: Image.Image,
) -> tuple[str, Samples, npt.NDArray[np.uint8] | None]:
    """Mode, samples and palette of an upright image; those of RGB are the caller's."""
    if image.mode == "1":
        return "1", np.asarray(image), None
    if image.mode.startswith("I;16"):
        return "L", np.asarray(image).astype(np.uint16), None
    if image.mode in ("L", "LA", "La"):
        whole = image.convert("LA") if image.mode == "La" else image
        return "L", np.asarray(whole.getchannel("L")), None
    if image.mode == "P" and image.palette is not None:
        return "P", np.asarray(image), _palette_of(image)
    if image.mode == "CMYK":
        return "CMYK", np.asarray(image), None
    return "RGB", np.empty((0, 0, 3), np.uint8), None


def _palette_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    alpha = np.full((len(colours), 1), 255, np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, bytes):
        values = np.frombuffer(transparent, np.uint8)[: len(colours)]
        alpha[: len(values), 0] = values
    elif isinstance(transparent, int) and transparent < len(colours):
        alpha[transparent] = 0
    return np.hstack([colours, alpha])


def _divided_by_alpha(samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Colours (H W 4, RGBA) that were stored as they lie on black, as they are."""
    divided = samples.copy()
    for top in range(0, len(samples), _BAND):
        band = samples[top : top + _BAND]
        alpha = band[..., 3:].astype(np.uint32)
        colours = (band[..., :3] * np.uint32(65_535) + alpha // 2) // alpha.clip(min=1)
        divided[top : top + _BAND, :, :3] = colours.clip(max=65_535)
    return divided


def _turned(samples: npt.NDArray[np.uint16], orientation: int) -> npt.NDArray[np.uint16]:
    """As Pillow turns an image of that EXIF orientation."""
    swapped = samples.swapaxes(0, 1)
    views = {
        2: samples[:, ::-1],
        3: samples[::-1, ::-1],
        4: samples[::-1],
        5: swapped,
        6: swapped[:, ::-1],
        7: swapped[::-1, ::-1],
        8: swapped[::-1],
    }
    return np.ascontiguousarray(views.get(orientation, samples))


def is_colourless(
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], alpha: npt.NDArray[np.uint8] | None
) -> bool:
    """Whether every pixel of RGB (H W 3, alpha H W) that can be seen is grey."""
    coloured = (pixels[..., 0] != pixels[..., 1]) | (pixels[..., 1] != pixels[..., 2])
    if alpha is not None:
        coloured &= alpha > 0
    return not coloured.any()


def as_seen(
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], alpha: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """The colours that are seen: of what is transparent none; of what is fainter than its
    surroundings, at an edge, theirs the more.

    Two pictures that look the same are filled the same, whatever is stored under their
    transparency.

    Args:
        pixels: H W 3, RGB.
        alpha: H W, 255 = opaque.

    Returns: H W 3; H W 4 where some pixels are unseen, 0 in the fourth channel.
    """
    if alpha.min() == 255:
        return pixels
    pixels = pixels.copy()
    edges = (alpha > 0) & (alpha < 255)
    if edges.any():
        own = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
        whole = Image.fromarray(np.dstack([own, alpha])).convert("RGBa")
        around = whole.filter(ImageFilter.BoxBlur(_SEEN_REACH)).convert("RGBA")
        near = np.asarray(around)[edges].astype(np.float32)
        near, weight = near[:, :3], near[:, 3:].clip(min=1)
        scale = 1 if pixels.dtype == np.uint8 else 257
        # As visible as what is around it: its own colour alone.
        share = (alpha[edges][:, None] / weight).clip(max=1)
        mixed = share * pixels[edges] + (1 - share) * scale * near
        pixels[edges] = np.rint(mixed).astype(pixels.dtype)
    pixels[alpha == 0] = 0
    if alpha.min() > 0:
        return pixels
    most = np.iinfo(pixels.dtype).max
    return np.dstack([pixels, np.where(alpha > 0, most, 0).astype(pixels.dtype)])


def seen_style(decoded: DecodedImage) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """The colours of a style that are seen, uint8 H W 3, and what is to be said of the others."""
    if decoded.alpha is None or decoded.alpha.min() == 255:
        return decoded.pixels, ()
    seen = as_seen(decoded.pixels, decoded.alpha)[..., :3].astype(np.uint8, copy=False)
    count = int(np.count_nonzero(decoded.alpha == 0))
    return seen, (f"{count} transparent pixels of the style count as black",) if count else ()


def _jpeg_coding(image: Image.Image, orientation: int) -> JpegCoding | None:
    tables = getattr(image, "quantization", None)
    if not tables:
        return None
    try:
        subsampling = JpegImagePlugin.get_sampling(image)
    except BROKEN_FILE_ERRORS:
        subsampling = -1
    quarter = orientation >= 5
    if quarter:
        # What was across lies down now; of Pillow's samplings only two are the same both ways.
        tables = {
            number: [int(each) for each in np.reshape(table, (8, 8)).T.ravel()]
            for number, table in tables.items()
        }
    if subsampling < 0 or (quarter and subsampling == 1):
        subsampling = 0
    return JpegCoding(
        {number: list(table) for number, table in tables.items()},
        subsampling,
        bool(image.info.get("progressive") or image.info.get("progression")),
    )
