"""All that an opened file says next to its pixels, made true of the upright picture."""

from dataclasses import replace

from PIL import Image

from kintsugi.imaging.encoders.tiff_file import read_tiff
from kintsugi.imaging.headers import declared_colours, webp_chunks
from kintsugi.imaging.metadata.exif_block import exif_of_tiff, made_upright, without_prefix
from kintsugi.imaging.metadata.gif_blocks import read_gif_xmp
from kintsugi.imaging.metadata.jp2_boxes import read_jp2
from kintsugi.imaging.metadata.jpeg_segments import read_jpeg
from kintsugi.imaging.metadata.png_chunks import read_png
from kintsugi.imaging.metadata.tags import Tags, colour_space, named
from kintsugi.imaging.metadata.xmp_packet import corrected

_WEBP_KNOWN = {
    *(b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "),
}


def read_tags(image: Image.Image, data: bytes, format: str, *, orientation: int) -> Tags:
    """Read the tags of a file.

    Args:
        image: Opened; of some formats the imaging library knows the tags.
        data: The file's bytes.
        format: As `kintsugi.imaging.formats` names it.
        orientation: EXIF's, which has been applied.
    """
    tags = _as_stored(image, data, format)
    turned = orientation >= 5
    dpi = tags.dpi or _dpi(image)
    if dpi is not None and turned:
        dpi = dpi[1], dpi[0]
    xmp, notes = corrected(tags.xmp)
    tags = replace(
        tags,
        xmp=xmp,
        icc=tags.icc or image.info.get("icc_profile") or b"",
        dpi=dpi,
        notes=(*tags.notes, *notes),
    )
    if not tags.exif:
        return tags
    try:
        return replace(tags, exif=made_upright(tags.exif, turned=turned))
    except ValueError:
        # Cameras and editors write broken EXIF; the pixels are good all the same.
        return replace(tags, exif=b"", notes=(*tags.notes, "EXIF data dropped: it is broken"))


def _as_stored(image: Image.Image, data: bytes, format: str) -> Tags:
    match format:
        case "jpeg":
            return read_jpeg(data)
        case "png":
            return read_png(data)
        case "tiff":
            return _of_tiff(data)
        case "jp2":
            return read_jp2(data)
        case "gif":
            comment = image.info.get("comment", b"")
            return Tags(xmp=read_gif_xmp(data), comments=(comment,) if comment else ())
        case _:
            # A profile says it better.
            colours = None if image.info.get("icc_profile") else declared_colours(data)
            return Tags(
                exif=without_prefix(image.info.get("exif") or b""),
                xmp=image.info.get("xmp") or b"",
                own=colour_space(*colours) if colours and format in ("heif", "avif") else (),
                notes=_of_webp(data) if format == "webp" else (),
            )


def _of_webp(data: bytes) -> tuple[str, ...]:
    """What is said of chunks that the encoder does not write."""
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    others = {kind for kind, _, _ in webp_chunks(data, end=end)} - _WEBP_KNOWN
    if not others:
        return ()
    # Content credentials, too, which vouch for the picture as it was.
    return (f"{named('chunk', others)} dropped: not known here",)


def _of_tiff(data: bytes) -> Tags:
    try:
        return replace(read_tiff(data), exif=exif_of_tiff(data))
    except ValueError:
        return Tags(notes=("tags dropped: they are broken",))


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    across, down = (float(value) for value in dpi)
    return (across, down) if across > 0 and down > 0 else None
