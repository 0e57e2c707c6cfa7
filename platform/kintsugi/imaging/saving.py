"""A filled photograph to a file that is as the photograph's own was; knows no HTTP, no storage."""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from kintsugi.errors import InvalidInput
from kintsugi.imaging.encoders.picture_file import Picture, encode_picture
from kintsugi.imaging.formats import FORMATS, Format
from kintsugi.imaging.heif import reads_heif
from kintsugi.imaging.metadata.exif_block import with_resolution
from kintsugi.imaging.metadata.tags import COLOUR_SPACE, Tags, colour_space_name
from kintsugi.imaging.photo_options import OutputOptions
from kintsugi.imaging.photograph import Photograph

Filled = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
# Pixels whose palette colour is looked for at a time: memory.
_LOOKED_UP = 16_384
# Rows that are gone over at a time: memory.
_BAND = 256
# Formats in which primaries and transfer are written by number.
_WITH_COLOUR_SPACE = ("png", "heif")


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


def chosen_format(photo: Photograph, options: OutputOptions) -> Format:
    """The format that a photograph's fill is written in.

    Raises: InvalidInput `format_not_installed`: HEIC without the extra `heic`.
    """
    spec = FORMATS[photo.format if options.format == "same" else options.format]
    # Here, as the photograph need not be one: Pillow knows the format only then.
    if spec.name == "heif" and not reads_heif():
        raise InvalidInput(
            "HEIC cannot be written here",
            code="format_not_installed",
            hint='pip install "kintsugi-inpainting[heic]", or choose another format',
        )
    return spec


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

    Raises: InvalidInput `format_side_limit`, `format_not_installed`.
    """
    spec = chosen_format(photo, options)
    spec.check_sides(*filled.shape[:2])
    notes = list(photo.notes)
    picture = _own_picture(photo, filled, original or photo)
    if picture.mode == "P" and spec.name in ("png", "gif", "tiff", "bmp"):
        notes.append(f"filled with the {len(_opaque(photo))} colours of its palette")
    picture = _fitted(picture, photo, filled, spec, notes)
    tags, strip_notes = _tags(photo, spec, picture, options)
    notes += strip_notes
    body, lost = encode_picture(picture, spec, tags, photo, options)
    return Saved(body, spec.name, tuple(dict.fromkeys((*notes, *lost))))


def _own_picture(photo: Photograph, filled: Filled, original: Photograph) -> Picture:
    """The photograph's samples, those of changed pixels from the fill."""
    if photo.is_colourless and photo.mode not in ("1", "L"):
        grey = grey_of(filled)
        filled = np.repeat(grey[..., None], 3, axis=2)
    changed = changed_pixels(filled, photo.seen, original.alpha, photo.alpha)
    alpha: npt.NDArray[Any] | None = photo.alpha if photo.deep_alpha is None else photo.deep_alpha
    samples: npt.NDArray[Any]
    match photo.mode:
        case "1":
            samples = np.array(photo.samples)
            samples[changed] = grey_of(filled[changed]) >= 128
        case "L":
            samples = np.array(photo.samples)
            samples[changed] = grey_of(filled[changed])
        case "P":
            samples = np.array(photo.samples)
            samples[changed] = _nearest(filled[changed], photo)
        case "CMYK":
            samples = np.array(photo.samples)
            samples[changed] = _to_cmyk(filled[changed], photo.tags.icc)
        case _:
            samples = np.array(photo.samples)
            samples[changed] = filled[changed]
    return Picture(photo.mode, samples, alpha, photo.palette)


def _fitted(
    picture: Picture, photo: Photograph, filled: Filled, spec: Format, notes: list[str]
) -> Picture:
    """The picture as the format can hold it; what that costs is added to the notes."""
    if picture.mode not in spec.modes:
        picture = _other_mode(picture, filled, spec, notes)
    if picture.samples.dtype == np.uint16 and spec.depth < 16:
        _note_reduced(notes, spec)
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


def _note_reduced(notes: list[str], spec: Format) -> None:
    """Name the depth that is lost, as the file had it."""
    bits = "16"
    for note in tuple(notes):
        own, _, kept = note.partition("-bit samples are kept")
        if kept:
            bits = own
            notes.remove(note)
    notes.append(f"{bits}-bit samples reduced to 8 bit: {spec.name} is written with 8")


def _of_depth(alpha: npt.NDArray[Any], *, deep: bool) -> npt.NDArray[Any]:
    """Transparency of as many bits as the colours have."""
    if deep:
        return alpha if alpha.dtype == np.uint16 else alpha.astype(np.uint16) * 257
    return (alpha >> 8).astype(np.uint8) if alpha.dtype == np.uint16 else alpha


def _other_mode(picture: Picture, filled: Filled, spec: Format, notes: list[str]) -> Picture:
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


def _as_rgb(picture: Picture, filled: Filled) -> npt.NDArray[Any]:
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
    picture: Picture, filled: Filled, spec: Format, notes: list[str]
) -> Picture:
    notes.append(f"colours reduced to 256: {spec.name} holds no more")
    if filled.dtype == np.uint16:
        _note_reduced(notes, spec)
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
    return Picture("P", samples, picture.alpha, palette[:256])


def _tags(
    photo: Photograph, spec: Format, picture: Picture, options: OutputOptions
) -> tuple[Tags, tuple[str, ...]]:
    """What is written next to the pixels, and what of it the format cannot hold."""
    tags = photo.tags.stripped() if options.strip_metadata else photo.tags
    notes: list[str] = []
    spaces = tuple(part for part in tags.own if part[0] == COLOUR_SPACE)
    for name in filter(None, (colour_space_name(body) for _, body in spaces)):
        if spec.name not in _WITH_COLOUR_SPACE:
            notes.append(f"colour space {name} dropped: {spec.name} is written without")
    if spec.name != photo.format:
        tags, unheld = tags.for_another(spec.name)
        notes += unheld
        if spec.name in _WITH_COLOUR_SPACE:
            tags = replace(tags, own=spaces)
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


def grey_of(filled: Filled) -> npt.NDArray[Any]:
    """One channel of three (... 3) that are nearly the same: their mean, of the same depth."""
    grey = np.empty(filled.shape[:-1], filled.dtype)
    # In bands: sums of a whole photograph would take five times its memory.
    for start in range(0, len(filled), _BAND):
        total = filled[start : start + _BAND].sum(axis=-1, dtype=np.uint32)
        grey[start : start + _BAND] = (total + 1) // 3
    return grey


def changed_pixels(
    filled: Filled,
    seen: Filled,
    before: npt.NDArray[np.uint8] | None,
    after: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.bool_]:
    """Where a picture takes the fill's colours (bool H W); elsewhere it keeps what it stores.

    Args:
        filled, seen: H W 3; the fill, and what was filled from.
        before, after: H W, the picture's transparency and its answer's. What becomes visible is
            the fill's even where that equals what was seen: other colours may be stored there.
    """
    found = np.empty(filled.shape[:2], np.bool_)
    for start in range(0, len(filled), _BAND):
        band = slice(start, start + _BAND)
        found[band] = (filled[band] != seen[band]).any(axis=2)
    if before is not None and after is not None:
        found |= before != after
    return found


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
