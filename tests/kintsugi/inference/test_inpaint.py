"""Filling a folder: which mask is whose, and what is refused by name."""

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.photo_options import OutputOptions
from kintsugi.inference.folder import FolderPlan, FolderRun
from kintsugi.inference.folder_report import Summary
from kintsugi.inference.inpaint import PhotoAndMask, Places, inpaint_folder, plan_folder
from kintsugi.storage.backends import Survey
from kintsugi.storage.storage import Storage


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.storage.parallel.ray_is_running", lambda: False)


def inverted(pixels: Pixels, mask: Mask) -> Pixels:
    """A method whose work is easy to see."""
    return np.where(mask[..., None], 255 - pixels[..., :3], pixels[..., :3])


def plan(images: list[str], masks: list[str] | None) -> FolderPlan[PhotoAndMask]:
    of_masks = None if masks is None else Survey(dict.fromkeys(masks, 1), {})
    return plan_folder(Survey(dict.fromkeys(images, 1), {}), of_masks)


def write_picture(path: Path, mode: str = "RGB", *, side: int = 32, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    data = np.random.default_rng(0).integers(0, 256, (side, side, bands), np.uint8)
    Image.fromarray(data.squeeze(), mode if bands == 4 else None).save(path, **options)
    return path


def write_mask(path: Path, *, side: int = 32, value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((side, side), np.uint8)
    pixels[8:20, 8:20] = value
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(*(Storage(tmp_path / name) for name in ("images", "masks", "output")))


def fill(places: Places) -> Summary:
    return inpaint_folder(places, inverted)


def rows(places: Places) -> dict[str, dict[str, Any]]:
    lines = places.output.read("report.jsonl").decode().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_mixed_formats_and_mask_names(places: Places, tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("a.jpg", "b.PNG", "deep/c.webp", "d.tiff"):
        write_picture(images / name)
    for name in ("a.png", "b_mask.png", "deep/c.png", "d_mask.webp", "left-over.png"):
        write_mask(masks / name)
    (images / "notes.txt").write_text("no photograph")
    summary = inpaint_folder(places, inverted, output=OutputOptions("png"))
    assert [(outcome.output, outcome.status) for outcome in summary.outcomes] == [
        ("a.png", "done"),
        ("b.png", "done"),
        ("d.png", "done"),
        ("deep/c.png", "done"),
        ("", "left_out"),
    ]
    assert places.output.list() == ["a.png", "b.png", "d.png", "deep/c.png", "report.jsonl"]
    before = np.array(Image.open(images / "b.PNG"))
    after = np.array(Image.open(io.BytesIO(places.output.read("b.png"))))
    hole = np.zeros((32, 32), np.bool_)
    hole[8:20, 8:20] = True
    assert np.array_equal(after, inverted(before, hole))


def test_alpha_and_profile_are_kept(places: Places, tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = write_picture(tmp_path / "images" / "a.png", "RGBA", icc_profile=profile)
    write_mask(tmp_path / "masks" / "a.png")
    fill(places)
    with Image.open(io.BytesIO(places.output.read("a.png"))) as image:
        assert image.mode == "RGBA"
        assert image.info["icc_profile"] == profile
        assert np.array_equal(np.array(image)[..., 3], np.array(Image.open(source))[..., 3])


def test_bad_files_end_nothing_and_say_why(places: Places, tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("good", "lonely", "other-size", "empty", "full", "colour"):
        write_picture(images / f"{name}.png")
    (images / "broken.png").write_bytes(b"no image")
    write_mask(masks / "good.png")
    write_mask(masks / "broken.png")
    write_mask(masks / "other-size.png", side=40)
    write_mask(masks / "empty.png", value=0)
    Image.new("L", (32, 32), 255).save(masks / "full.png")
    write_picture(masks / "colour.png")
    summary = fill(places)
    found = {name: (row["status"], row["code"]) for name, row in rows(places).items()}
    assert found == {
        "broken.png": ("failed", "image_format_not_allowed"),
        "colour.png": ("failed", "mask_not_gray"),
        "empty.png": ("failed", "mask_empty"),
        "full.png": ("failed", "mask_full"),
        "good.png": ("done", ""),
        "lonely.png": ("failed", "mask_missing"),
        "other-size.png": ("failed", "size_mismatch"),
    }
    assert len(summary.failed) == 6
    assert "40x40 px but the image is 32x32" in rows(places)["other-size.png"]["reason"]
    assert places.output.list() == ["good.png", "report.jsonl"]


def test_two_masks_for_one_photograph_are_refused_with_both_named() -> None:
    (outcome,) = plan(["a.jpg"], ["a.png", "a_mask.png"]).refused
    assert outcome.code == "mask_ambiguous"
    assert "a.png and a_mask.png" in outcome.reason


def test_masks_named_as_lama_names_them() -> None:
    found = plan(
        ["a.png", "b.png", "deep/c.jpg"],
        ["a_mask001.png", "b_mask000.png", "b_mask001.png", "deep/c_mask.png", "d_mask7x.png"],
    )
    assert [(pair.id, pair.mask) for pair in found.items] == [
        ("a.png", "a_mask001.png"),
        ("deep/c.jpg", "deep/c_mask.png"),
    ]
    (outcome,) = found.refused
    assert outcome.code == "mask_ambiguous"
    assert "b_mask000.png and b_mask001.png" in outcome.reason
    (pair,) = plan(["a.png", "a_mask001.png"], None).items
    assert (pair.id, pair.mask) == ("a.png", "a_mask001.png")


def test_images_and_masks_in_one_folder() -> None:
    found = plan(["a.png", "a_mask.png", "b.png"], None)
    assert [(pair.id, pair.mask) for pair in found.items] == [("a.png", "a_mask.png")]
    assert [outcome.code for outcome in found.refused] == ["mask_missing"]


def test_a_photograph_may_be_called_mask() -> None:
    names = ["carnival_mask.jpg", "carnival_mask_mask.png", "plain.png", "plain_mask.png"]
    found = plan(names, None)
    assert {(pair.id, pair.mask) for pair in found.items} == {
        ("carnival_mask.jpg", "carnival_mask_mask.png"),
        ("plain.png", "plain_mask.png"),
    }
    assert found.refused == ()
    # A mask of a mask has no photograph: it is named, and the others are done.
    found = plan(["a.png", "a_mask.png", "a_mask_mask.png"], None)
    assert [(pair.id, pair.mask) for pair in found.items] == [("a.png", "a_mask.png")]
    assert [outcome.id for outcome in found.refused] == ["a_mask_mask.png"]


def test_names_are_the_same_whether_umlauts_are_taken_apart_or_not() -> None:
    apart, whole = (unicodedata.normalize(form, "gr\u00fcn") for form in ("NFD", "NFC"))
    found = plan([f"{apart}.png"], [f"{whole}_mask.png"])
    assert [(pair.id, pair.output) for pair in found.items] == [(f"{apart}.png", f"{apart}.png")]
    both = plan([f"{apart}.png", f"{whole}.png"], [f"{whole}_mask.png"])
    assert {outcome.code for outcome in both.refused} == {"output_ambiguous"}


def test_refuses_an_output_among_the_inputs(tmp_path: Path) -> None:
    images, masks = Storage(tmp_path / "images"), Storage(tmp_path / "masks")
    for output in (images, masks, images.join("filled")):
        with pytest.raises(ConfigError, match="choose a folder outside"):
            fill(Places(images, masks, output))
    with pytest.raises(ConfigError, match="no photographs in"):
        fill(Places(images, masks, Storage(tmp_path / "images-filled")))


def test_a_file_that_failed_is_tried_again_when_asked(places: Places, tmp_path: Path) -> None:
    write_mask(tmp_path / "masks" / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    assert len(fill(places).failed) == 1
    write_picture(tmp_path / "images" / "a.png")
    assert len(fill(places).failed) == 1
    assert inpaint_folder(places, inverted, run=FolderRun(retry_failed=True)).failed == ()


def test_a_mask_with_a_photographs_own_name_is_that_photographs() -> None:
    found = plan(["carnival.jpg", "carnival_mask.jpg"], ["carnival.png", "carnival_mask.png"])
    assert {pair.id: pair.mask for pair in found.items} == {
        "carnival.jpg": "carnival.png",
        "carnival_mask.jpg": "carnival_mask.png",
    }
    doubtful = plan(["carnival.jpg"], ["carnival.png", "carnival_mask.png"])
    assert [each.code for each in doubtful.refused] == ["mask_ambiguous"]
