"""A filled photograph to a file that is as the photograph's own was; knows no HTTP, no storage."""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from kintsugi.errors import InvalidInput
from kintsugi.imaging.encoders.deep_samples import write_deep_png
from kintsugi.imaging.encoders.tiff_file import TiffPicture, write_tiff
from kintsugi.imaging.formats import FORMATS, Format
from kintsugi.imaging.metadata.exif_block import with_resolution
from kintsugi.imaging.metadata.gif_blocks import write_gif_xmp
from kintsugi.imaging.metadata.jp2_boxes import write_jp2
from kintsugi.imaging.metadata.jpeg_segments import write_jpeg
from kintsugi.imaging.metadata.png_chunks import write_png
from kintsugi.imaging.metadata.tags import Tags
from kintsugi.imaging.photo_options import OutputOptions
from kintsugi.imaging.photograph import Photograph

Filled = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
# Pixels whose palette colour is looked for at a time: memory.
_LOOKED_UP = 16_384
# From here on the chroma of every pixel is worth keeping, too.
_FINE_QUALITY = 90


@dataclass(frozen=True)
class Saved:
    """A file.

    Attributes:
        body: Its bytes.
        format: As `kintsugi.imaging.formats` names it.
        notes: What of the photograph it does not hold, one short English clause each.
    """

    body: bytes
    format: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Picture:
    """What is encoded: as `Photograph`, filled."""

    mode: str
    samples: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None
    palette: npt.NDArray[np.uint8] | None


def chosen_format(photo: Photograph, options: OutputOptions) -> Format:
    """The format that a photograph's fill is written in."""
    return FORMATS[photo.format if options.format == "same" else options.format]


def save_photograph(
    photo: Photograph,
    filled: Filled,
    options: OutputOptions = OutputOptions(),
    *,
    original: Photograph | None = None,
) -> Saved:
    """Encode a fill as the photograph was: format, mode, depth, metadata, JPEG's tables.

    Pixels that the fill left as they were keep the samples of the file, to the bit where the
    format is without loss.

    Args:
        photo: The photograph; where its alpha is other than the original's, pixels have changed.
        filled: H W 3, RGB, of the depth of ``photo.pixels``.
        options: What is asked for.
        original: As it was opened, where `photo` is not that.

    Raises: InvalidInput `format_side_limit`.
    """
    spec = chosen_format(photo, options)
    longest = max(filled.shape[:2])
    if spec.side_limit is not None and longest > spec.side_limit:
        raise InvalidInput(
            f"{spec.name} holds at most {spec.side_limit} px a side and the image has {longest}",
            code="format_side_limit",
            hint="ask for png or tiff",
        )
    notes = list(photo.notes)
    picture = _own_picture(photo, filled, original or photo)
    if picture.mode == "P" and spec.name in ("png", "gif", "tiff", "bmp"):
        notes.append(f"filled with the {len(_opaque(photo))} colours of its palette")
    picture = _fitted(picture, photo, filled, spec, notes)
    tags, strip_notes = _tags(photo, spec, picture, options)
    notes += strip_notes
    body, lost = _encode(picture, spec, tags, photo, options)
    return Saved(body, spec.name, tuple(dict.fromkeys((*notes, *lost))))


def _own_picture(photo: Photograph, filled: Filled, original: Photograph) -> _Picture:
    """The photograph's samples, those of changed pixels from the fill."""
    if photo.is_colourless and photo.mode not in ("1", "L"):
        grey = _grey(filled)
        filled = np.repeat(grey[..., None], 3, axis=2)
    changed = (filled != photo.seen).any(axis=2)
    alpha: npt.NDArray[Any] | None = photo.alpha if photo.deep_alpha is None else photo.deep_alpha
    if photo.alpha is not None and original.alpha is not None:
        changed |= photo.alpha != original.alpha
    samples: npt.NDArray[Any]
    match photo.mode:
        case "1":
            samples = np.where(changed, _grey(filled) >= 128, photo.samples)
        case "L":
            samples = np.where(changed, _grey(filled), photo.samples)
        case "P":
            samples = np.array(photo.samples)
            samples[changed] = _nearest(filled[changed], photo)
        case "CMYK":
            samples = np.array(photo.samples)
            samples[changed] = _to_cmyk(filled[changed], photo.tags.icc)
        case _:
            samples = np.where(changed[..., None], filled, photo.samples)
    return _Picture(photo.mode, samples, alpha, photo.palette)


def _fitted(
    picture: _Picture, photo: Photograph, filled: Filled, spec: Format, notes: list[str]
) -> _Picture:
    """The picture as the format can hold it; what that costs is added to the notes."""
    if picture.mode not in spec.modes:
        picture = _other_mode(picture, filled, spec, notes)
    if picture.samples.dtype == np.uint16 and spec.depth < 16:
        notes.append(f"16-bit samples reduced to 8 bit: {spec.name} is written with 8")
        picture = replace(picture, samples=(picture.samples >> 8).astype(np.uint8))
    if picture.alpha is not None and not spec.alpha:
        notes.append(f"transparency dropped: {spec.name} has none")
        picture = replace(picture, alpha=None)
    if picture.alpha is not None:
        deep = picture.samples.dtype == np.uint16
        picture = replace(picture, alpha=_of_depth(picture.alpha, deep=deep))
    if picture.alpha is not None and picture.mode == "1":
        # Single bits have no transparency next to them.
        grey = np.where(picture.samples, 255, 0).astype(np.uint8)
        picture = replace(picture, mode="L", samples=grey)
    return picture


def _of_depth(alpha: npt.NDArray[Any], *, deep: bool) -> npt.NDArray[Any]:
    """Transparency of as many bits as the colours have."""
    if deep:
        return alpha if alpha.dtype == np.uint16 else alpha.astype(np.uint16) * 257
    return (alpha >> 8).astype(np.uint8) if alpha.dtype == np.uint16 else alpha


def _other_mode(picture: _Picture, filled: Filled, spec: Format, notes: list[str]) -> _Picture:
    names = {"1": "black and white", "L": "grey", "P": "palette", "RGB": "colour", "CMYK": "CMYK"}
    if picture.mode == "1" and "L" in spec.modes:
        mode, samples = "L", np.where(picture.samples, 255, 0).astype(np.uint8)
    elif "RGB" in spec.modes:
        mode, samples = "RGB", _as_rgb(picture, filled)
    else:
        return _reduced_to_palette(picture, filled, spec, notes)
    kind = "transparent palette" if picture.mode == "P" and picture.alpha is not None else ""
    notes.append(
        f"{kind or names[picture.mode]} converted to {names[mode]}: {spec.name} holds no"
        f" {names[picture.mode]}"
    )
    return replace(picture, mode=mode, samples=samples, palette=None)


def _as_rgb(picture: _Picture, filled: Filled) -> npt.NDArray[Any]:
    if picture.mode == "1":
        return np.repeat(np.where(picture.samples, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode == "L":
        return np.repeat(picture.samples[..., None], 3, axis=2)
    if picture.mode == "P":
        assert picture.palette is not None
        colours: npt.NDArray[Any] = picture.palette[:, :3][
            np.minimum(picture.samples.astype(np.intp), len(picture.palette) - 1)
        ]
        return colours
    return filled


def _reduced_to_palette(
    picture: _Picture, filled: Filled, spec: Format, notes: list[str]
) -> _Picture:
    notes.append(f"colours reduced to 256: {spec.name} holds no more")
    if filled.dtype == np.uint16:
        notes.append(f"16-bit samples reduced to 8 bit: {spec.name} is written with 8")
    own = filled if filled.dtype == np.uint8 else (filled >> 8).astype(np.uint8)
    image = Image.fromarray(own).quantize(255 if picture.alpha is not None else 256)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:256]
    palette = np.hstack([colours, np.full((len(colours), 1), 255, np.uint8)])
    samples = np.array(image)
    if picture.alpha is not None:
        clear = len(palette)
        palette = np.vstack([palette, np.array([[0, 0, 0, 0]], np.uint8)])
        most = np.iinfo(picture.alpha.dtype).max
        samples[picture.alpha < most / 2] = min(clear, 255)
        if ((picture.alpha > 0) & (picture.alpha < most)).any():
            notes.append(f"half-transparent pixels made opaque or clear: {spec.name} holds none")
    return _Picture("P", samples, picture.alpha, palette[:256])


def _tags(
    photo: Photograph, spec: Format, picture: _Picture, options: OutputOptions
) -> tuple[Tags, tuple[str, ...]]:
    """What is written next to the pixels, and what of it the format cannot hold."""
    tags = photo.tags.stripped() if options.strip_metadata else photo.tags
    notes: list[str] = []
    if spec.name != photo.format:
        kinds = {kind for kind, _ in tags.own}
        if b"gAMA" in kinds and b"sRGB" not in kinds and not tags.icc:
            notes.append(f"gamma dropped: {spec.name} holds none")
        tags = tags.without_own()
    # A profile is for samples of one kind.
    space = {"CMYK": b"CMYK", "L": b"GRAY", "1": b"GRAY"}.get(picture.mode, b"RGB ")
    if (
        tags.icc
        and tags.icc[16:20] != space
        and not (tags.icc[16:20] == b"RGB " and picture.mode in ("L", "1"))
    ):
        notes.append(f"colour profile dropped: it is not for {space.decode().strip()}")
        tags = replace(tags, icc=b"")
    if tags.dpi and "dpi" not in spec.keeps and "exif" in spec.keeps:
        tags = replace(tags, exif=with_resolution(tags.exif, tags.dpi), dpi=None)
    lost = tags.lost_in(spec.name, spec.keeps)
    return tags, (*notes, *lost)


def _encode(
    picture: _Picture, spec: Format, tags: Tags, photo: Photograph, options: OutputOptions
) -> tuple[bytes, tuple[str, ...]]:
    """The file, and what of the tags did not fit into it."""
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
            return write_tiff(TiffPicture(picture.mode, samples, colours), tags, source), ()
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
                settings["comment"] = tags.comments[0].encode()
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
        fine = quality >= _FINE_QUALITY
        key, value = ("subsampling", "4:4:4") if spec.name == "avif" else ("chroma", 444)
        settings |= {key: value} if fine else {}
    return settings


def _jpeg(
    picture: _Picture, tags: Tags, photo: Photograph | None, options: OutputOptions
) -> tuple[bytes, tuple[str, ...]]:
    quality = options.quality_or_own
    settings: dict[str, Any] = {
        "quality": quality,
        "subsampling": 0 if quality >= _FINE_QUALITY else 2,
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


def _png(picture: _Picture) -> bytes:
    if picture.samples.dtype == np.uint16:
        return write_deep_png(_with_alpha(picture))
    return _pillow(_image(picture), FORMATS["png"], _transparency(picture))


def _transparency(picture: _Picture) -> dict[str, Any]:
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


def _image(picture: _Picture) -> Image.Image:
    """As Pillow takes it."""
    if picture.mode == "P":
        assert picture.palette is not None
        image = Image.fromarray(picture.samples.astype(np.uint8)).convert("P")
        image = Image.fromarray(picture.samples.astype(np.uint8))
        image.putpalette(picture.palette[:, :3].tobytes())
        return image
    if picture.mode == "CMYK":
        return Image.fromarray(picture.samples, "CMYK")
    return Image.fromarray(_with_alpha(picture))


def _with_alpha(picture: _Picture) -> npt.NDArray[Any]:
    if picture.alpha is None or picture.mode in ("P", "CMYK"):
        return picture.samples
    return np.dstack([picture.samples, picture.alpha])


def _pillow(image: Image.Image, spec: Format, settings: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, spec.plugin, **settings)
    return buffer.getvalue()


def _grey(filled: Filled) -> npt.NDArray[Any]:
    """One channel of three that are nearly the same: their mean, of the same depth."""
    total = filled.astype(np.uint32).sum(axis=2)
    grey: npt.NDArray[Any] = ((total + 1) // 3).astype(filled.dtype)
    return grey


def _opaque(photo: Photograph) -> npt.NDArray[np.intp]:
    """Indices of a palette that a fill may take."""
    assert photo.palette is not None
    indices = np.flatnonzero(photo.palette[:, 3] == 255)
    return indices if len(indices) else np.arange(len(photo.palette))


def _nearest(colours: Filled, photo: Photograph) -> npt.NDArray[np.uint8]:
    """For each colour (uint8 N 3) the index of the nearest opaque one of the palette."""
    assert photo.palette is not None
    allowed = _opaque(photo)
    table = photo.palette[allowed, :3].astype(np.int32)
    kinds, where = np.unique(colours, axis=0, return_inverse=True)
    best = np.empty(len(kinds), np.uint8)
    for start in range(0, len(kinds), _LOOKED_UP):
        part = kinds[start : start + _LOOKED_UP, None].astype(np.int32)
        far = np.square(part - table).sum(axis=2)
        best[start : start + _LOOKED_UP] = allowed[far.argmin(axis=1)]
    return best[where.reshape(-1)]


def _to_cmyk(colours: Filled, icc: bytes) -> npt.NDArray[np.uint8]:
    """Colours (uint8 N 3, sRGB) in inks, by the photograph's profile where it has one."""
    row = Image.fromarray(colours.astype(np.uint8)[None])
    if icc[16:20] == b"CMYK":
        try:
            target = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            source = ImageCms.createProfile("sRGB")
            inks = ImageCms.profileToProfile(row, source, target, outputMode="CMYK")
        except (ImageCms.PyCMSError, OSError):
            inks = None
        if inks is not None:
            return np.array(inks).reshape(-1, 4)
    return np.array(row.convert("CMYK")).reshape(-1, 4)
