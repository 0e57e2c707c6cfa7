"""Files that no honest program writes, and some odd ones that are good; knows no HTTP."""

import functools
import gzip
import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

from tests.deploy.conftest import MASK, PHOTO, encode
from tests.kintsugi.pictures import png, png_header

HEIGHT, WIDTH = PHOTO.shape[:2]
_HEADER = png_header(WIDTH, HEIGHT)
_ROWS = (b"IDAT", zlib.compress(bytes(HEIGHT * (1 + 3 * WIDTH))))
_END = (b"IEND", b"")
_BOMB = zlib.compress(bytes(10**8), 9)


@functools.cache
def other_formats() -> dict[str, bytes]:
    """What is none of the formats."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.png", encode(PHOTO))
    return {
        **{kind: encode(PHOTO, kind) for kind in ("ICO", "PCX", "TGA", "PDF", "EPS")},
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "PSD": b"8BPS\0\1" + bytes(100),
        "ZIP": archive.getvalue(),
        "ELF": b"\x7fELF" + bytes(100),
        "pickle": pickle.dumps({"a": 1}),
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "gzip": gzip.compress(encode(PHOTO)),
        "random": np.random.default_rng(0).bytes(1000),
        "one byte": b"\x89",
        "a space in front": b" " + encode(PHOTO),
    }


@functools.cache
def broken_files() -> dict[str, bytes]:
    """What starts like one of the formats and is none."""
    whole, jpeg, webp = encode(PHOTO), encode(PHOTO, "JPEG"), encode(PHOTO, "WEBP")
    return {
        "PNG signature only": whole[:8],
        "AVIF brand only": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(100),
        "GIF and script": b"GIF89a/*" + bytes(50) + b"*/=1;alert(1)",
        "PNG cut": whole[: len(whole) // 2],
        "PNG without its end": whole[:-12],
        "PNG header's checksum": whole[:29] + bytes(4) + whole[33:],
        "PNG pixels' checksum": whole[:-16] + bytes(4) + whole[-12:],
        "PNG without pixels": png(_HEADER, _END),
        "PNG with two headers": png(_HEADER, _HEADER, _ROWS, _END),
        "PNG 0x0": png(png_header(0, 0), _ROWS, _END),
        "PNG 0x64": png(png_header(0, 64), _ROWS, _END),
        "PNG of 3 bits": png(png_header(WIDTH, HEIGHT, depth=3), _ROWS, _END),
        "PNG of colour type 5": png(png_header(WIDTH, HEIGHT, colour=5), _ROWS, _END),
        "PNG compressed otherwise": png((b"IHDR", _HEADER[1][:10] + b"\x09\0\0"), _ROWS, _END),
        "PNG not zlib": png(_HEADER, (b"IDAT", b"not zlib"), _END),
        "PNG of too few rows": png(_HEADER, (b"IDAT", zlib.compress(bytes(100))), _END),
        "PNG without its palette": png(png_header(WIDTH, HEIGHT, colour=3), _ROWS, _END),
        "PNG chunk of 4 GiB": whole[:33] + b"\xff\xff\xff\xffIDAT",
        "PNG unknown critical chunk": png(_HEADER, (b"ABCD", b""), _ROWS, _END),
        "PNG zTXt bomb": png(_HEADER, (b"zTXt", b"a\0\0" + _BOMB), _ROWS, _END),
        "PNG iTXt bomb": png(_HEADER, _ROWS, (b"iTXt", b"a\0\1\0\0\0" + _BOMB), _END),
        "PNG 100 zTXt": png(
            _HEADER,
            *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) for _ in range(100)],
            _ROWS,
            _END,
        ),
        "JPEG start only": b"\xff\xd8",
        "JPEG cut": jpeg[: len(jpeg) // 2],
        "JPEG 0x0": _jpeg_of(0, 0),
        "JPEG of 12 bits": jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c", 1),
        "WebP header only": b"RIFF\x04\0\0\0WEBP",
        "WebP cut": webp[:-20],
        "WebP lies about its length": b"RIFF\xff\xff\xff\x7f" + webp[8:],
        "TIFF header only": b"II*\0",
        "TIFF cut": encode(PHOTO, "TIFF")[:-500],
    }


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files of a great many pixels."""
    dark = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(dark, "PNG")
    return {
        "PNG 12000x12000 of 1 bit": dark.getvalue(),
        "PNG says 400 MP": png(png_header(20_000, 20_000), _ROWS, _END),
        "PNG 2^31-1 wide": png(png_header(2**31 - 1, 64), _ROWS, _END),
        "JPEG 65535x65535": _jpeg_of(65535, 65535),
        "WebP 16383x16383 in 34 bytes": _webp_of(16383, 16383),
    }


@functools.cache
def animated() -> dict[str, bytes]:
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - PHOTO)] * 29}
    return {kind: encode(PHOTO, kind, **frames) for kind in ("PNG", "WEBP", "TIFF", "GIF")}


@functools.cache
def odd_but_good() -> dict[str, bytes]:
    """Photographs of the size of the others, which must be taken."""
    exif = Image.Exif()
    exif[0x0112] = 1
    garbage = b"\xff\xd8\xff\xe1\0\x10Exif\0\0garbage!" + encode(PHOTO, "JPEG")[2:]
    grey = PHOTO[..., 0]
    palette = io.BytesIO()
    Image.fromarray(PHOTO).quantize(64).save(palette, "PNG")
    cmyk = io.BytesIO()
    Image.fromarray(PHOTO).convert("CMYK").save(cmyk, "JPEG")
    rows = zlib.compress(bytes(HEIGHT * (1 + 3 * WIDTH)) + bytes(10**8), 9)
    return {
        "JPEG": encode(PHOTO, "JPEG"),
        **{kind: encode(PHOTO, kind) for kind in ("GIF", "BMP", "JPEG2000", "AVIF")},
        "WebP lossless": encode(PHOTO, "WEBP", lossless=True),
        "TIFF": encode(PHOTO, "TIFF"),
        "palette": palette.getvalue(),
        "CMYK": cmyk.getvalue(),
        "grey": encode(grey),
        "grey of 16 bits": _png_of(grey.astype(np.uint16) * 257),
        "transparent": encode(np.dstack([PHOTO, grey])),
        "JPEG with EXIF of garbage": garbage,
        "JPEG and ZIP": encode(PHOTO, "JPEG") + other_formats()["ZIP"],
        "PNG and ZIP": encode(PHOTO) + other_formats()["ZIP"],
        "PNG with 100 MB after its pixels": png(_HEADER, (b"IDAT", rows), _END),
    }


@functools.cache
def masks() -> dict[str, bytes]:
    """Masks that are good for the photograph."""
    one_bit = io.BytesIO()
    Image.fromarray(MASK).save(one_bit, "PNG")
    white = MASK.astype(np.uint8) * 255
    return {
        "of 1 bit": one_bit.getvalue(),
        "grey as colour": encode(np.dstack([white] * 3)),
        "opaque": encode(np.dstack([white, white, white, np.full_like(white, 255)])),
        "of 16 bits": _png_of(white.astype(np.uint16) * 257),
        "JPEG": encode(white, "JPEG"),
    }


def _png_of(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header says so."""
    data = bytearray(encode(PHOTO, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _webp_of(width: int, height: int) -> bytes:
    """The header of a lossless WebP."""
    bits = (width - 1) | (height - 1) << 14
    chunk = b"VP8L" + struct.pack("<I", 14) + b"\x2f" + struct.pack("<I", bits) + bytes(9)
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
