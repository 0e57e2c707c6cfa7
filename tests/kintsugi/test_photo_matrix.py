"""Every format, mode, depth and transparency through command, folder and HTTP, tags and all."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from kintsugi.deploy.api import build_api
from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.imaging.encoders.deep_samples import write_deep_png
from kintsugi.imaging.encoders.tiff_file import TiffPicture, write_tiff
from kintsugi.imaging.formats import FORMATS
from kintsugi.imaging.heif import reads_heif
from kintsugi.imaging.metadata.tags import Tags
from kintsugi.imaging.photograph import Photograph, open_photograph
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.fill import main
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, load_release, save_release
from tests.kintsugi.deep_pictures import avif, heic, tiff
from tests.kintsugi.exif_reader import WRITTEN, exiftool, read_tags, write_tags
from tests.kintsugi.pictures import encode, gradient, srgb_profile

pytestmark = pytest.mark.slow

HOLE = np.zeros((96, 64), np.bool_)
HOLE[40:56, 24:40] = True
ALPHA = np.full((96, 64), 255, np.uint8)
ALPHA[:12], ALPHA[12:16] = 0, 120
DEEP = (gradient().astype(np.uint16) * 257 + np.arange(64)[None, :, None]).astype(np.uint16)
PILLOW = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA"],
    "jpeg": ["L", "RGB", "CMYK"],
    "tiff": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"],
    "webp": ["RGB", "RGBA"],
    "heif": ["L", "RGB", "RGBA"],
    "avif": ["RGB", "RGBA"],
    "bmp": ["1", "L", "P", "RGB"],
    "gif": ["P"],
    "jp2": ["L", "RGB", "RGBA"],
}
# What is read with fewer bits than it has, and is named by every door.
LOSSES = {
    "avif-RGB10.avif": "10-bit samples reduced to 8 bit",
    "avif-RGB12.avif": "12-bit samples reduced to 8 bit",
    "heif-RGB10.heic": "10-bit samples reduced to 8 bit",
    "heif-L10.heic": "10-bit samples reduced to 8 bit: heif is written with 8",
    "jp2-RGB16.jp2": "16-bit samples reduced to 8 bit",
    "tiff-RGB+1.tif": "1 channel next to the colours dropped",
}
# Most that a known sample may be off, away from the hole's blocks.
LOSSY = {"jpeg": 8, "webp": 60, "avif": 20, "heif": 20}


def picture(format: str, mode: str) -> bytes:
    image = Image.fromarray(gradient()).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(ALPHA))
    with_profile = format not in ("gif", "bmp", "jp2") and mode in ("RGB", "RGBA")
    return encode(
        image, FORMATS[format].plugin, **({"icc_profile": srgb_profile()} if with_profile else {})
    )


def sources() -> dict[str, bytes]:
    """Name of a file -> its bytes."""
    made = {
        f"{format}-{mode}{FORMATS[format].suffixes[0]}": picture(format, mode)
        for format, modes in PILLOW.items()
        for mode in modes
        if format != "heif" or reads_heif()
    }
    deep_alpha = np.dstack([DEEP, ALPHA.astype(np.uint16) * 257])
    for name, samples in (("L", DEEP[..., 0]), ("RGB", DEEP), ("RGBA", deep_alpha)):
        made[f"png-{name}16.png"] = write_deep_png(samples)
        made[f"tiff-{name}16.tif"] = write_tiff(TiffPicture(name[:3], samples), Tags(), None)[0]
    made["tiff-RGB+1.tif"] = tiff(np.dstack([gradient(), ALPHA]), "rgb", [0])
    made["jp2-RGB16.jp2"] = bytes(cv2.imencode(".jp2", np.ascontiguousarray(DEEP[..., ::-1]))[1])
    made |= {f"avif-RGB{bits}.avif": avif(DEEP, bits) for bits in (10, 12)}
    if reads_heif():
        made |= {"heif-RGB10.heic": heic(DEEP), "heif-L10.heic": heic(DEEP[..., 0])}
    return made


def lost(name: str) -> list[str]:
    return [LOSSES[name]] if name in LOSSES else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs with tags, one mask, a release, and what the three doors made of them."""
    exiftool()
    root = tmp_path_factory.mktemp("matrix")
    (root / "photos").mkdir()
    for name, data in sources().items():
        (root / "photos" / name).write_bytes(data)
        if "bmp" not in name:
            write_tags(root / "photos" / name, WRITTEN)
    (root / "mask.png").write_bytes(encode(Image.fromarray(HOLE)))
    config = ModelConfig("tiny")
    inpainter = build_inpainter(config, Vgg19Relu3.random(0), seed=0)
    save_release(root / "release", inpainter, ReleaseConfig("tiny", config, "random"), card="")
    return root


@pytest.fixture(scope="module")
def by_folder(folder: Path) -> Path:
    arguments = [str(folder / "photos"), str(folder / "mask.png"), "-o", str(folder / "out")]
    assert main([*arguments, f"--release={folder / 'release'}", "--processes=0"]) == DONE
    return folder / "out"


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    inpainter, config = load_release(folder / "release")
    engine = LocalEngine(inpainter, ModelInfo(config.name, config.digest, "tiny"))
    with TestClient(build_api(engine, AppArgs(release=str(folder / "release")))) as opened:
        yield opened


def in_colours(photo: Photograph) -> Any:
    if photo.palette is None:
        return photo.samples.astype(np.int64)
    return photo.palette[photo.samples].astype(np.int64)


def check(before: Path, after: Path) -> None:
    """The same photograph but for the hole."""
    source, made = open_photograph(before.read_bytes()), open_photograph(after.read_bytes())
    depth = 8 if before.name in LOSSES else source.depth
    assert (made.format, made.mode, made.depth) == (source.format, source.mode, depth)
    away = ~HOLE
    if source.format in LOSSY:
        away[24:72, 8:56] = False
    scale = 257 if source.depth != depth else 1
    off = np.abs(in_colours(made) - in_colours(source) / scale)[away]
    assert off.max() <= LOSSY.get(source.format, 0)
    assert (in_colours(made) != in_colours(source))[HOLE].any()
    assert (made.alpha is None) == (source.alpha is None)
    if source.alpha is not None and made.alpha is not None:
        near = 2 if source.format in LOSSY else 0
        assert np.abs(made.alpha.astype(int) - source.alpha).max() <= near
    tags, found = read_tags(before), read_tags(after)
    for name in WRITTEN:
        assert found.get(name) == tags.get(name), name
    assert found.get("ICC_Profile:ProfileDescription") == tags.get("ICC_Profile:ProfileDescription")
    assert "ExifTool:Warning" not in found


def test_a_folder(folder: Path, by_folder: Path) -> None:
    rows = [json.loads(line) for line in (by_folder / "report.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {path.name for path in (folder / "photos").iterdir()}
    for row in rows:
        assert row["status"] == "done", row
        notes = [note for note in row["notes"] if "of its palette" not in note]
        assert notes == lost(row["id"])
        check(folder / "photos" / row["id"], by_folder / row["output"])


def test_the_command_and_http_give_the_same_files(
    folder: Path,
    by_folder: Path,
    client: TestClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in sorted((folder / "photos").iterdir()):
        files = {"image": path.read_bytes(), "mask": (folder / "mask.png").read_bytes()}
        response = client.post("/v1/inpaint", files=files)
        assert response.status_code == 200, (path.name, response.text)
        assert response.headers["content-type"] == open_media(path)
        expected = (by_folder / path.name).read_bytes()
        assert response.content == expected, path.name
        assert all(note in response.headers.get("x-image-notes", "") for note in lost(path.name))
    chosen = sorted((folder / "photos").iterdir())
    for path in [*chosen[::5], *(path for path in chosen if path.name in LOSSES)]:
        made = tmp_path / path.name
        release = f"--release={folder / 'release'}"
        assert main([str(path), str(folder / "mask.png"), "-o", str(made), release]) == DONE
        assert made.read_bytes() == (by_folder / path.name).read_bytes(), path.name
        said = capsys.readouterr()
        assert all(note in said.out + said.err for note in lost(path.name))


def open_media(path: Path) -> str:
    return FORMATS[open_photograph(path.read_bytes()).format].media_type


def test_the_matrix_is_whole(folder: Path) -> None:
    found = {path.name.split("-")[0] for path in (folder / "photos").iterdir()}
    assert found == {name for name in FORMATS if name != "heif" or reads_heif()}
    with Image.open(io.BytesIO((folder / "photos" / "png-RGBA16.png").read_bytes())) as image:
        assert image.mode == "RGBA"
