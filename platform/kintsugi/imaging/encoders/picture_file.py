"""A picture that fits its format, to that format's file; decides nothing of mode or depth."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kintsugi.imaging.encoders.deep_samples import write_deep_png
from kintsugi.imaging.encoders.tiff_file import TiffPicture, write_tiff
from kintsugi.imaging.formats import FINE_QUALITY, FORMATS, Format
from kintsugi.imaging.metadata.gif_blocks import write_gif_xmp
from kintsugi.imaging.metadata.jp2_boxes import write_jp2
from kintsugi.imaging.metadata.jpeg_segments import write_jpeg
from kintsugi.imaging.metadata.png_chunks import write_png
from kintsugi.imaging.metadata.tags import COLOUR_SPACE, Tags
from kintsugi.imaging.photo_options import OutputOptions
from kintsugi.imaging.photograph import Photograph


@dataclass(frozen=True)
class Picture:
    """What is encoded.

    Attributes:
        mode: As Pillow names it: 1, L, P, RGB, CMYK.
        samples: H W, or H W 3 (CMYK: 4); uint8 or uint16; bool of mode 1.
        alpha: H W, of the same depth; None where there is none.
        palette: uint8 N 4, RGB and alpha, of mode P; else None.
    """

    mode: str
    samples: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None
    palette: npt.NDArray[np.uint8] | None


def encode_picture(
    picture: Picture, spec: Format, tags: Tags, photo: Photograph, options: OutputOptions
) -> tuple[bytes, tuple[str, ...]]:
    """A file of a format, and what of the tags did not fit into it.

    Args:
        picture: Of a mode, a depth and an alpha that the format has.
        spec: The format.
        tags: What is written next to the pixels.
        photo: The photograph; a file of its own format is coded as that was.
        options: Quality, and whether metadata stay.
    """
    same = photo.format == spec.name
    match spec.name:
        case "png":
            return write_png(_png(picture), tags, same_format=same), ()
        case "tiff":
            source = photo.tiff if same and not options.strip_metadata else None
            samples = _with_alpha(picture)
            colours = picture.palette[:, :3] if picture.palette is not None else None
            if picture.mode == "P":
                samples = picture.samples
                assert colours is not None
                colours = np.vstack([colours, np.zeros((256 - len(colours), 3), np.uint8)])
            return write_tiff(TiffPicture(picture.mode, samples, colours), tags, source)
        case "jpeg":
            return _jpeg(picture, tags, photo if same else None, options)
        case "jp2":
            bare = same and photo.is_bare
            settings: dict[str, Any] = {"no_jp2": bare}
            if options.quality != "auto" and options.quality < 100:
                settings |= {"irreversible": True, "quality_mode": "dB"}
                settings["quality_layers"] = [20 + options.quality * 0.3]
            body = _pillow(_image(picture), spec, settings)
            return (body, ()) if bare else (write_jp2(body, tags), ())
        case "gif":
            settings = _transparency(picture)
            if tags.comments:
                settings["comment"] = b"\n".join(tags.comments)
            return write_gif_xmp(_pillow(_image(picture), spec, settings), tags.xmp), ()
        case "bmp":
            settings = {"dpi": tags.dpi} if tags.dpi else {}
            return _pillow(_image(picture), spec, settings), ()
        case _:
            return _pillow(_image(picture), spec, _modern(spec, tags, photo, options)), ()


def _modern(spec: Format, tags: Tags, photo: Photograph, options: OutputOptions) -> dict[str, Any]:
    """How WebP, AVIF and HEIC are encoded."""
    quality = options.quality_or_own
    settings: dict[str, Any] = {"quality": quality}
    if tags.exif:
        settings["exif"] = tags.exif
    if tags.xmp:
        settings["xmp"] = tags.xmp
    settings["icc_profile"] = tags.icc or None
    if spec.name == "webp":
        # `exact` keeps the colours under transparent pixels.
        settings |= {"exact": True, "lossless": photo.lossless and options.quality == "auto"}
    else:
        fine = quality >= FINE_QUALITY
        key, value = ("subsampling", "4:4:4") if spec.name == "avif" else ("chroma", 444)
        settings |= {key: value} if fine else {}
    for body in (body for kind, body in tags.own if kind == COLOUR_SPACE and spec.name == "heif"):
        settings |= {"color_primaries": body[0], "transfer_characteristics": body[1]}
        # As libheif converts samples where nothing is said of them.
        settings |= {"matrix_coefficients": 6, "full_range_flag": 1}
    return settings


def _jpeg(
    picture: Picture, tags: Tags, photo: Photograph | None, options: OutputOptions
) -> tuple[bytes, tuple[str, ...]]:
    quality = options.quality_or_own
    settings: dict[str, Any] = {
        "quality": quality,
        "subsampling": 0 if quality >= FINE_QUALITY else 2,
    }
    lost: tuple[str, ...] = ()
    coding = photo.jpeg if photo is not None else None
    if coding is not None and options.quality == "auto":
        settings = {"qtables": coding.tables, "subsampling": coding.subsampling}
        settings["progressive"] = coding.progressive
    if tags.dpi:
        settings["dpi"] = tuple(round(value) for value in tags.dpi)
    image = _image(picture)
    try:
        body = _pillow(image, FORMATS["jpeg"], settings)
    except (ValueError, OSError):
        # Tables that an encoder of eight bits cannot write.
        settings = {"quality": quality, "subsampling": 0, "dpi": settings.get("dpi", (0, 0))}
        body = _pillow(image, FORMATS["jpeg"], settings)
        lost = (f"quantisation tables not kept: written with quality {quality}",)
    body, too_large = write_jpeg(body, tags)
    return body, (*lost, *too_large)


def _png(picture: Picture) -> bytes:
    if picture.samples.dtype == np.uint16:
        return write_deep_png(_with_alpha(picture))
    return _pillow(_image(picture), FORMATS["png"], _transparency(picture))


def _transparency(picture: Picture) -> dict[str, Any]:
    """Pillow's options for a palette's transparent colours."""
    if picture.mode != "P" or picture.palette is None:
        return {}
    alpha = picture.palette[:, 3]
    if alpha.min() == 255:
        return {}
    clear = np.flatnonzero(alpha == 0)
    if len(clear) == 1 and np.count_nonzero(alpha < 255) == 1:
        return {"transparency": int(clear[0])}
    return {"transparency": alpha.tobytes()}


def _image(picture: Picture) -> Image.Image:
    """As Pillow takes it."""
    if picture.mode == "P":
        assert picture.palette is not None
        image = Image.fromarray(picture.samples.astype(np.uint8))
        image.putpalette(picture.palette[:, :3].tobytes())
        return image
    if picture.mode == "CMYK":
        return Image.fromarray(picture.samples, "CMYK")
    return Image.fromarray(_with_alpha(picture))


def _with_alpha(picture: Picture) -> npt.NDArray[Any]:
    if picture.alpha is None or picture.mode in ("P", "CMYK"):
        return picture.samples
    return np.dstack([picture.samples, picture.alpha])


def _pillow(image: Image.Image, spec: Format, settings: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, spec.plugin, **settings)
    return buffer.getvalue()
