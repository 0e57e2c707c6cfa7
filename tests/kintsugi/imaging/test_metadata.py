"""What a file says next to its pixels comes back, read by a program that nobody here wrote."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kintsugi.imaging.heif import reads_heif
from kintsugi.imaging.photo_options import output_in
from kintsugi.imaging.photograph import open_photograph
from kintsugi.imaging.saving import save_photograph
from tests.kintsugi.exif_reader import WRITTEN, exiftool, read_tags, write_tags
from tests.kintsugi.pictures import encode, gradient, srgb_profile

SUFFIXES = {
    "jpeg": "jpg",
    "png": "png",
    "tiff": "tif",
    "webp": "webp",
    "avif": "avif",
    "heif": "heic",
    "jp2": "jp2",
    "gif": "gif",
}
PLUGINS = {"jp2": "JPEG2000"}
# Groups of tags that a format holds.
HOLDS = {
    "jpeg": ("EXIF", "XMP", "IPTC"),
    "png": ("EXIF", "XMP", "IPTC"),
    "tiff": ("EXIF", "XMP", "IPTC"),
    "webp": ("EXIF", "XMP"),
    "avif": ("EXIF", "XMP"),
    "heif": ("EXIF", "XMP"),
    "jp2": ("EXIF", "XMP", "IPTC"),
    "gif": ("XMP",),
}


def photograph(folder: Path, format: str, **more: Any) -> Path:
    """A file with tags, a profile, a resolution."""
    exiftool()
    if format == "heif" and not reads_heif():
        pytest.skip("the extra heic is not installed")
    path = folder / f"photo.{SUFFIXES[format]}"
    image = Image.fromarray(gradient())
    options = {} if format in ("jp2", "gif") else {"icc_profile": srgb_profile()}
    if format in ("jpeg", "png", "tiff"):
        options["dpi"] = (300, 300)
    path.write_bytes(encode(image, PLUGINS.get(format, format.upper()), **options))
    tags = {name: value for name, value in WRITTEN.items() if name.split(":")[0] in HOLDS[format]}
    write_tags(path, {**tags, **more})
    return path


def filled(path: Path, format: str = "same", **options: Any) -> tuple[Path, tuple[str, ...]]:
    photo = open_photograph(path.read_bytes())
    pixels = photo.seen.copy()
    pixels[30:50, 20:40] = 255 - pixels[30:50, 20:40]
    saved = save_photograph(photo, pixels, output_in(format), **options)
    made = path.with_name(f"filled.{SUFFIXES[saved.format]}")
    made.write_bytes(saved.body)
    return made, saved.notes


def kept(path: Path, format: str) -> None:
    found = read_tags(path)
    for name, value in WRITTEN.items():
        if name.split(":")[0] in HOLDS[format]:
            assert found.get(name) == (
                pytest.approx(value) if isinstance(value, float) else value
            ), (
                name,
                found.get(name),
            )


@pytest.mark.parametrize("format", SUFFIXES)
def test_tags_profile_and_resolution_stay(tmp_path: Path, format: str) -> None:
    path = photograph(tmp_path, format)
    before = read_tags(path)
    made, notes = filled(path)
    assert [note for note in notes if "palette" not in note] == []
    kept(made, format)
    after = read_tags(made)
    for group in ("ICC_Profile:ProfileDescription", "EXIF:XResolution", "JFIF:XResolution"):
        assert after.get(group) == before.get(group)
    if format == "png":
        assert after["PNG:PixelsPerUnitX"] == before["PNG:PixelsPerUnitX"]
    assert "ExifTool:Warning" not in after


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp"])
def test_a_turned_photograph_is_upright_and_says_so(tmp_path: Path, format: str) -> None:
    path = photograph(
        tmp_path,
        format,
        **{
            "EXIF:Orientation": 6,
            "XMP-tiff:Orientation": 6,
            "EXIF:ExifImageWidth": 64,
            "EXIF:ExifImageHeight": 96,
        },
    )
    made, _ = filled(path)
    found = read_tags(made)
    assert found["EXIF:Orientation"] == 1
    assert found["XMP:Orientation"] == 1
    assert found.get("File:ImageWidth", 96) == 96
    with Image.open(made) as image:
        assert image.size == (96, 64)
    if format != "tiff":
        assert (found["EXIF:ExifImageWidth"], found["EXIF:ExifImageHeight"]) == (96, 64)
    kept(made, format)


def test_thumbnails_are_dropped_since_they_show_what_was_there(tmp_path: Path) -> None:
    path = photograph(tmp_path, "jpeg")
    small = tmp_path / "small.jpg"
    small.write_bytes(encode(Image.fromarray(gradient(24, 16)), "JPEG"))
    write_tags(path, {"ThumbnailImage<": small, "PhotoshopThumbnail<": small})
    assert "EXIF:ThumbnailImage" in read_tags(path)
    made, _ = filled(path)
    found = read_tags(made)
    assert not [name for name in found if "Thumbnail" in name]
    assert small.read_bytes() not in made.read_bytes()
    kept(made, "jpeg")


@pytest.mark.parametrize("target", ["png", "tiff", "webp", "avif", "jp2"])
def test_tags_go_along_into_another_format(tmp_path: Path, target: str) -> None:
    path = photograph(tmp_path, "jpeg")
    made, notes = filled(path, target)
    kept(made, target)
    found = read_tags(made)
    assert found["ICC_Profile:ProfileDescription"]
    if target == "png":
        assert found["PNG:PixelsPerUnitX"] == 11811
    elif target not in HOLDS or "IPTC" not in HOLDS[target]:
        assert f"IPTC data dropped: {target} holds none" in notes


@pytest.mark.parametrize("format", ["bmp", "gif"])
def test_what_another_format_does_not_hold_is_named(tmp_path: Path, format: str) -> None:
    photo = open_photograph(photograph(tmp_path, "jpeg").read_bytes())
    notes = save_photograph(photo, photo.seen, output_in(format)).notes
    assert f"EXIF data dropped: {format} holds none" in notes
    assert f"colour profile dropped: {format} holds none" in notes


def test_gamma_and_text_of_a_png_stay(tmp_path: Path) -> None:
    path = photograph(tmp_path, "png")
    path.write_bytes(encode(Image.fromarray(gradient()), "PNG"))
    write_tags(path, {"PNG:Gamma": 1.8, "PNG:Author": "Ada", "PNG:Description": "words"})
    made, notes = filled(path)
    found = read_tags(made)
    assert found["PNG:Gamma"] == read_tags(path)["PNG:Gamma"]
    assert (found["PNG:Author"], found["PNG:Description"]) == ("Ada", "words")
    assert notes == ()
    _, notes = filled(path, "jpeg")
    assert "gamma dropped: jpeg holds none" in notes


def test_comments_and_unknown_segments_of_a_jpeg_stay(tmp_path: Path) -> None:
    path = photograph(tmp_path, "jpeg", Comment="a remark")
    data = path.read_bytes()
    # A segment of a program that is not known here.
    path.write_bytes(data[:2] + b"\xff\xe7\x00\x0bMine\0abcd"[:13] + data[2:])
    made, _ = filled(path)
    assert read_tags(made)["File:Comment"] == "a remark"
    assert b"Mine\0abcd" in made.read_bytes()


@pytest.mark.parametrize("source", ["png", "tiff", "jp2", "webp"])
def test_tags_of_any_format_go_into_a_jpeg(tmp_path: Path, source: str) -> None:
    made, notes = filled(photograph(tmp_path, source), "jpeg")
    found = read_tags(made)
    for name, value in WRITTEN.items():
        if name.split(":")[0] in HOLDS[source]:
            assert str(found.get(name)) == str(value), name
    assert notes == ()


def test_stripped_of_all_but_the_profile(tmp_path: Path) -> None:
    from kintsugi.imaging.photo_options import OutputOptions

    for format in ("jpeg", "png", "tiff", "webp"):
        photo = open_photograph(photograph(tmp_path, format).read_bytes())
        saved = save_photograph(photo, photo.seen, OutputOptions(strip_metadata=True))
        made = tmp_path / f"stripped.{SUFFIXES[format]}"
        made.write_bytes(saved.body)
        groups = {name.split(":")[0] for name in read_tags(made)}
        assert not groups & {"XMP", "IPTC", "Photoshop"}, format
        assert not [name for name in read_tags(made) if name in WRITTEN], format
        assert "ICC_Profile" in groups, format
        assert photo.seen.shape == open_photograph(saved.body).seen.shape


def test_broken_exif_is_named_and_the_pixels_are_good() -> None:
    data = encode(Image.fromarray(gradient()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    photo = open_photograph(data)
    assert "EXIF data dropped: it is broken" in photo.notes
    body = save_photograph(photo, photo.seen).body
    assert np.asarray(Image.open(io.BytesIO(body))).shape == (96, 64, 3)


def test_a_phones_second_picture_is_named() -> None:
    second = Image.fromarray(gradient()[::-1].copy())
    data = encode(gradient(), "MPO", save_all=True, append_images=[second])
    notes = open_photograph(data).notes
    assert any("further pictures in the file" in note for note in notes)
