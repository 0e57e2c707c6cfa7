"""`from kintsugi import Inpainter`: pictures as PIL and numpy have them, in and out."""

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kintsugi import Inpainter
from kintsugi.errors import InvalidInput, StorageError
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.holed import open_holed
from kintsugi.imaging.photo_options import MaskOptions, OutputOptions
from kintsugi.inference.inpaint import fill_holed
from kintsugi.inference.methods import ReleaseMethod
from kintsugi.inference.stylize import Stylist, read_style, stylize_photo
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.plan.fill_plan import FillOptions, FillPlan
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.kintsugi.exif_reader import write_tags

TINY = ModelConfig("tiny")
NETWORKS = build_inpainter(TINY, Vgg19Relu3.random(0), seed=0)


@pytest.fixture
def inpainter() -> Inpainter:
    return Inpainter(NETWORKS, ReleaseConfig("tiny", TINY, "random (seed 0)"))


@pytest.fixture
def photo() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


@pytest.fixture
def hole() -> Mask:
    mask = np.zeros((70, 90), np.bool_)
    mask[20:50, 30:60] = True
    return mask


def test_numpy_in_numpy_out_as_the_method_itself(
    inpainter: Inpainter, photo: Pixels, hole: Mask
) -> None:
    before = photo.copy()
    filled = inpainter.fill(photo, hole)
    same = tensor_to_image(NETWORKS.inpaint(image_to_tensor(photo), mask_to_tensor(hole)))
    assert np.array_equal(filled, same)
    assert np.array_equal(filled[~hole], photo[~hole])
    assert np.array_equal(photo, before), "what is given stays as it was"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_a_picture_keeps_its_mode_and_what_it_says_of_itself(
    inpainter: Inpainter, photo: Pixels, hole: Mask, mode: str
) -> None:
    image = Image.fromarray(photo).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.full((70, 90), 9, np.uint8)))
    image.info["icc_profile"] = b"a profile"
    filled = inpainter.fill(image, Image.fromarray(hole))
    assert (filled.mode, filled.size) == (mode, (90, 70))
    assert filled.info["icc_profile"] == b"a profile"
    before, after = np.asarray(image), np.asarray(filled)
    assert np.array_equal(after[~hole], before[~hole])
    assert not np.array_equal(after[hole], before[hole])
    if mode.endswith("A"):
        assert (after[..., -1] == 9).all()


# What a mask's picture is like, and the options by which it says where the hole is.
MASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "white": ("L", {}),
    "white on nothing": ("RGBA", {}),
    "black": ("L", {"mask_convention": "black"}),
    "1 bit": ("1", {}),
    "inverted": ("RGB", {"invert_mask": True, "mask_threshold": 200}),
    "erased": ("RGBA", {"mask_convention": "alpha", "mask_threshold": 90}),
    "painted": ("LA", {"mask_convention": "painted"}),
    "grown": ("L", {"grow_mask": 3, "feather": 2, "scales": 1, "align_colour": False, "seed": 5}),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("given", [lambda mask: mask, np.asarray], ids=["PIL", "numpy"])
def test_a_mask_means_what_it_means_for_files(
    inpainter: Inpainter, photo: Pixels, hole: Mask, kind: str, given: Callable[[Any], Any]
) -> None:
    mode, options = MASKS[kind]
    marks = np.full(hole.shape, 40, np.uint8)
    marks[hole] = 220
    mask = Image.fromarray(marks)
    if mode in ("RGBA", "LA"):
        mask = Image.merge("LA", (Image.new("L", mask.size, 255), mask))
    mask = mask.convert(mode)
    if kind == "painted" and given is np.asarray:
        mask = mask.convert("RGBA")
    of_mask = {field.name for field in fields(MaskOptions)}
    chosen = MaskOptions(**{name: value for name, value in options.items() if name in of_mask})
    method = ReleaseMethod(
        NETWORKS,
        FillOptions(
            **{
                field.name: options[field.name]
                for field in fields(FillOptions)
                if field.name in options
            }
        ),
    )
    holed = open_holed(encoded(Image.fromarray(photo)), encoded(mask), chosen)
    saved = fill_holed(holed, method)
    expected = np.asarray(Image.open(io.BytesIO(saved.body)))
    assert np.array_equal(inpainter.fill(photo, given(mask), **options), expected)


def test_a_hole_that_was_erased_is_opaque(inpainter: Inpainter, photo: Pixels, hole: Mask) -> None:
    erased = np.dstack([photo, np.where(hole, np.uint8(30), np.uint8(255))])
    filled = inpainter.fill(Image.fromarray(erased), mask_convention="alpha")
    after = np.asarray(filled)
    assert (after[..., 3] == 255).all()
    assert np.array_equal(after[~hole], erased[~hole])
    with pytest.raises(InvalidInput, match="there is no mask"):
        inpainter.fill(photo)


def test_what_was_erased_never_comes_back() -> None:
    """Not even where the fill is as black as what is seen there, which is nothing."""
    erased = np.zeros((96, 96, 4), np.uint8)
    erased[..., 3] = 255
    erased[32:64, 32:64] = (255, 0, 0, 0)
    filled = Inpainter.load().fill(erased, mask_convention="alpha")
    holed = open_holed(encoded(Image.fromarray(erased)), None, MaskOptions("alpha"))
    saved = fill_holed(holed, ReleaseMethod(Inpainter.load()._networks))
    assert (filled[..., 3] == 255).all()
    assert filled[..., :3].max() < 40, "the fill is nearly black, as all that can be seen"
    assert np.array_equal(filled, np.asarray(Image.open(io.BytesIO(saved.body)).convert("RGBA")))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_picture_without_colour_stays_so_as_files_do(
    inpainter: Inpainter, photo: Pixels, hole: Mask, mode: str
) -> None:
    image = Image.fromarray(photo).convert("L").convert(mode)
    saved = fill_holed(
        open_holed(encoded(image), encoded(Image.fromarray(hole))), ReleaseMethod(NETWORKS)
    )
    expected = np.asarray(Image.open(io.BytesIO(saved.body)).convert(mode))
    assert np.array_equal(np.asarray(inpainter.fill(image, hole)), expected)


def test_what_cannot_be_seen_does_not_count(
    inpainter: Inpainter, photo: Pixels, hole: Mask
) -> None:
    alpha = np.full(hole.shape, 255, np.uint8)
    alpha[:12] = 0
    other = photo.copy()
    other[:12] = 255 - other[:12]
    one, two = (inpainter.fill(np.dstack([each, alpha]), hole) for each in (photo, other))
    assert np.array_equal(one[12:], two[12:])
    assert np.array_equal(two[:12, :, :3], other[:12]), "what is stored there stays as it was"


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_is_transparent(
    inpainter: Inpainter, photo: Pixels, hole: Mask, mode: str
) -> None:
    """PNG's tRNS: as of files, what is not seen is not filled from, and a hole may be erased so."""
    grey = Image.fromarray(photo).convert("L").point(lambda value: max(value, 8))
    pixels = np.array(grey.convert(mode))
    pixels[20:50, :45] = 7
    clear = 7 if mode == "L" else (7, 7, 7)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", transparency=clear)
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    saved = fill_holed(
        open_holed(buffer.getvalue(), encoded(Image.fromarray(hole))), ReleaseMethod(NETWORKS)
    )
    expected = np.asarray(Image.open(io.BytesIO(saved.body)).convert("RGBA"))
    filled = inpainter.fill(opened, hole)
    assert filled.mode == ("LA" if mode == "L" else "RGBA")
    after = np.asarray(filled.convert("RGBA"))
    assert np.array_equal(after[after[..., 3] > 0], expected[after[..., 3] > 0])
    assert np.array_equal(after[..., 3], expected[..., 3])
    filled.save(io.BytesIO(), "PNG")
    erased = np.asarray(inpainter.fill(opened, mask_convention="alpha"))
    assert (erased[..., -1] == 255).all()


def test_looks_neither_take_nor_give_what_cannot_be_seen(
    inpainter: Inpainter, photo: Pixels, tmp_path: Path
) -> None:
    alpha = np.full((70, 90), 255, np.uint8)
    alpha[:, 50:] = 0
    one, other = photo.copy(), photo.copy()
    other[:, 50:] = 255 - other[:, 50:]
    one, other = (np.dstack([each, alpha]) for each in (one, other))
    styled = [inpainter.stylize(each, photo) for each in (one, other)]
    assert np.array_equal(styled[0][:, :50], styled[1][:, :50])
    looks = []
    for name, style in (("one.png", one), ("other.png", other)):
        looks.append(inpainter.stylize(photo, style))
        (tmp_path / name).write_bytes(encoded(Image.fromarray(style)))
        read, notes = read_style(str(tmp_path / name))
        assert notes == ("2800 transparent pixels of the style count as black",)
        assert np.array_equal(inpainter.stylize(photo, read), looks[-1])
    assert np.array_equal(*looks)
    files = stylize_photo(encoded(Image.fromarray(one)), Stylist(NETWORKS, photo), OutputOptions())
    after = np.asarray(Image.open(io.BytesIO(files.body)))
    assert np.array_equal(after[:, :50], styled[0][:, :50]), "as of files"


def test_numbers_of_numpy_are_numbers(inpainter: Inpainter, photo: Pixels, hole: Mask) -> None:
    plain = inpainter.fill(photo, hole, seed=3, grow_mask=2, invert_mask=False)
    numbers = {"seed": np.int64(3), "grow_mask": np.uint8(2), "invert_mask": np.bool_(False)}
    assert np.array_equal(inpainter.fill(photo, hole, **numbers), plain)  # type: ignore[arg-type]
    looks = [
        inpainter.stylize(photo, photo, strength=strength, seed=seed)
        for strength, seed in ((0.5, 3), (np.float32(0.5), np.int64(3)))  # type: ignore[assignment]
    ]
    assert np.array_equal(*looks)


def test_progress_rises_to_one(inpainter: Inpainter, photo: Pixels, hole: Mask) -> None:
    seen: list[float] = []
    inpainter.fill(photo, hole.astype(np.uint8) * 255, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1


def test_only_what_lies_around_the_hole_is_computed(
    inpainter: Inpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.zeros((4000, 3000, 3), np.uint8)
    hole = np.zeros((4000, 3000), np.bool_)
    hole[2000:2020, 1000:1020] = True
    sides: list[tuple[int, ...]] = []

    def looked_at(plan: FillPlan, *rest: object, **more: object) -> object:
        sides.append(tuple(plan.image.shape[-2:]))
        return plan.image

    monkeypatch.setattr(NETWORKS, "fill_plan", looked_at)
    assert inpainter.fill(large, hole).shape == large.shape
    assert max(sides[0]) < 1300


def test_a_look_is_given(inpainter: Inpainter, photo: Pixels) -> None:
    content = Image.fromarray(photo).convert("L")
    styled = inpainter.stylize(content, Image.fromarray(photo[:32, :32]), strength=0.5)
    assert (styled.mode, styled.size) == ("L", (90, 70))


def test_what_cannot_be_used_is_named(inpainter: Inpainter, photo: Pixels, hole: Mask) -> None:
    with pytest.raises(InvalidInput, match="mask is 80x70 px but the image is 90x70"):
        inpainter.fill(photo, hole[:, :80])
    with pytest.raises(InvalidInput, match="the mask is empty"):
        inpainter.fill(photo, np.zeros_like(hole))
    with pytest.raises(InvalidInput, match="covers the whole image"):
        inpainter.fill(photo, np.ones_like(hole))
    with pytest.raises(InvalidInput, match="mode CMYK"):
        inpainter.fill(Image.fromarray(photo).convert("CMYK"), hole)
    with pytest.raises(InvalidInput, match="the image is float64 of shape"):
        inpainter.fill(photo / 255, hole)  # type: ignore[type-var]
    with pytest.raises(InvalidInput, match="feather='99' is not one of its values") as caught:
        inpainter.fill(photo, hole, feather=99)
    assert "0 to 64 pixels" in caught.value.__notes__[0]
    with pytest.raises(InvalidInput, match="the mask is of PIL's mode CMYK"):
        inpainter.fill(photo, Image.new("CMYK", (90, 70)))
    with pytest.raises(InvalidInput, match="the mask has no alpha channel"):
        inpainter.fill(photo, hole, mask_convention="painted")
    with pytest.raises(InvalidInput, match="the mask is in colour"):
        inpainter.fill(photo, photo)
    for options, says in (
        ({"strength": 2}, "strength='2'"),
        ({"strength": float("nan")}, "strength='nan'"),
        ({"seed": -1}, "seed='-1'"),
        ({"seed": "x"}, "seed='x'"),
    ):
        with pytest.raises(InvalidInput, match=f"{says} is not one of its values"):
            inpainter.stylize(photo, photo, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="the content has no pixels"):
        inpainter.stylize(photo[:0], photo)
    with pytest.raises(InvalidInput, match="the image has no pixels"):
        inpainter.fill(photo[:, :0], hole[:, :0])
    with pytest.raises(InvalidInput, match="the image is of type str") as caught:
        inpainter.fill("photo.png", hole)  # type: ignore[type-var]
    assert "PIL.Image.open" in caught.value.__notes__[0]
    with pytest.raises(InvalidInput, match="the mask is of type str"):
        inpainter.fill(photo, "mask.png")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="the mask is float64") as caught:
        inpainter.fill(photo, hole.astype(float))  # type: ignore[arg-type]
    assert "3 (RGB)" in caught.value.__notes__[0]
    with pytest.raises(InvalidInput, match="has no transparency to take the hole from"):
        inpainter.fill(photo, mask_convention="alpha")


def test_a_release_is_loaded_by_its_place(tmp_path: Path, photo: Pixels, hole: Mask) -> None:
    config = ReleaseConfig("mine", TINY, "random (seed 0)")
    save_release(tmp_path / "mine", NETWORKS, config, card="")
    loaded = Inpainter.load(tmp_path / "mine")
    assert loaded.release.name == "mine"
    assert loaded.fill(photo, hole).shape == photo.shape
    with pytest.raises(StorageError, match="nothing at"):
        Inpainter.load(tmp_path / "other")


def test_importing_the_package_imports_nothing() -> None:
    script = """
import sys
before = set(sys.modules)
import kintsugi
print(sorted(name for name in sys.modules.keys() - before if name.startswith("kintsugi")))
print("Inpainter" in dir(kintsugi), "torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["['kintsugi']", "True False"]


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_photograph_of_a_phone_is_taken_as_it_is_displayed(
    inpainter: Inpainter, photo: Pixels, hole: Mask, orientation: int
) -> None:
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = orientation, "a phone"
    buffer = io.BytesIO()
    Image.fromarray(photo).transpose(turns[orientation]).save(buffer, "PNG", exif=exif)
    filled = inpainter.fill(Image.open(buffer), hole)
    assert np.array_equal(np.asarray(filled), inpainter.fill(photo, hole))
    tags = filled.getexif()
    assert (tags.get(0x0112, 1), tags[0x0110]) == (1, "a phone")


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_a_picture_says_of_itself_now_comes_back(
    inpainter: Inpainter, photo: Pixels, hole: Mask, kind: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "a lake", "Ann"
    exif.get_ifd(0x8769)[0x9286] = b"a remark"
    if orientation != 1:
        exif[0x0112] = orientation
    # PIL writes into a TIFF only what it has read.
    written, exif = exif.tobytes(), Image.Exif()
    exif.load(written)
    buffer = io.BytesIO()
    turned = Image.fromarray(photo if orientation == 1 else np.rot90(photo).copy())
    turned.save(buffer, kind, exif=exif)
    image = Image.open(io.BytesIO(buffer.getvalue()))
    if kind == "JPEG" and orientation == 1:
        assert inpainter.fill(image, hole).info["exif"] == image.info["exif"], "to the byte"
    image.getexif()[0x013B] = "Bob"
    assert "Ann" not in str(dict(inpainter.fill(image, hole).getexif()))
    answers = [inpainter.fill(image, hole), inpainter.stylize(image, Image.fromarray(photo))]
    for answer in answers:
        assert answer.size == (90, 70)
        again = io.BytesIO()
        answer.save(again, kind, exif=answer.getexif())
        for each in (answer, Image.open(io.BytesIO(again.getvalue()))):
            tags = each.getexif()
            assert (tags[0x010E], tags[0x013B], tags.get(0x0112, 1)) == ("a lake", "Bob", 1)
            assert tags.get_ifd(0x8769)[0x9286] == b"a remark"


def test_no_thumbnail_shows_what_was_there(
    inpainter: Inpainter, photo: Pixels, hole: Mask, tmp_path: Path
) -> None:
    path, small = tmp_path / "photo.jpg", tmp_path / "small.jpg"
    Image.fromarray(photo).save(path)
    Image.fromarray(photo[:16, :24]).save(small, "JPEG")
    write_tags(path, {"EXIF:Artist": "Ann", "ThumbnailImage<": small})
    with Image.open(path) as image:
        assert small.read_bytes() in image.info["exif"]
        filled = inpainter.fill(image, hole)
    assert small.read_bytes() not in filled.info["exif"]
    assert filled.getexif()[0x013B] == "Ann"


def test_a_transfer_says_how_far_it_is(inpainter: Inpainter, photo: Pixels) -> None:
    seen: list[float] = []
    inpainter.stylize(photo, photo, progress=seen.append)
    assert seen == [0, 1]


def test_what_does_not_fit_the_picture_is_said(
    inpainter: Inpainter, photo: Pixels, hole: Mask
) -> None:
    for options, code in (
        ({"grow_mask": 64}, "options_do_not_fit"),
        ({"scales": 0}, "scales_out_of_range"),
        ({"scales": 9}, "options_do_not_fit"),
    ):
        with pytest.raises(InvalidInput) as caught:
            inpainter.fill(photo[15:55, 25:65], hole[15:55, 25:65], **options)  # type: ignore[arg-type]
        assert caught.value.code == code
