"""Blind sheets: what stands left is the key's to say, fills come at 100 %, nothing gives away."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.evaluation.blind.sheet import (
    Key,
    Layout,
    about_sheet,
    draw_pair,
    stands_left,
    write_sheet,
)
from kintsugi.evaluation.blind.tally import read_key
from kintsugi.evaluation.entrants import Case, Computed, Entrant
from kintsugi.evaluation.evaluate import Comparison
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.codec import encode_image
from kintsugi.inference.methods import Method
from kintsugi.masks.sets import parse_mask_set
from kintsugi.storage.storage import Storage

CENTER = parse_mask_set("center-32-64")


def level(value: int) -> Method:
    # Known pixels as well: the sheet must not show what a method does to them.
    return lambda pixels, mask: np.full_like(pixels, value)


def comparison(**entrants: Entrant) -> Comparison:
    return Comparison(
        entrants or {"dark": Computed(level(20), "dark 1"), "light": Computed(level(220), "")},
        [CENTER, parse_mask_set("center-16-64")],
    )


@pytest.fixture
def photos(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "photos")
    for number in range(12):
        rng = np.random.default_rng(number)
        storage.write(
            f"{number:02d}.png", encode_image(rng.integers(90, 160, (64, 64, 3), np.uint8))
        )
    return storage


def sheet(photos: Storage, output: Storage, seed: int = 0) -> Key:
    names = [name for name in photos.list() if name.endswith(".png")]
    return write_sheet(comparison(), photos.uri, names, output, Layout(8, 5), seed=seed)


def test_each_pair_shows_what_the_key_says(photos: Storage, tmp_path: Path) -> None:
    key = sheet(photos, Storage(tmp_path / "sheet"))
    assert [pair.number for pair in key.pairs] == list(range(1, 25))
    assert key.pairs[-1].page == "page-005.png"
    assert {pair.a for pair in key.pairs} == {"dark", "light"}
    pages = {
        name: np.asarray(Image.open(tmp_path / "sheet" / name))
        for name in {pair.page for pair in key.pairs}
    }
    # Two squares of 32 + 16 px, then the smaller ones of the second set.
    assert pages["page-001.png"].shape == (5 * (48 + 28 + 12), 2 * (48 + 12) + 12, 3)
    for pair in key.pairs[:12]:
        top = (pair.number - 1) % 5 * (48 + 28 + 12) + 28
        page = pages[pair.page]
        middles = [page[top + 24, 12 + 24 + tile * 60, 0] for tile in (0, 1)]
        assert middles == [{"dark": 20, "light": 220}[name] for name in (pair.a, pair.b)]
        # Around the hole both show the photograph.
        assert np.array_equal(page[top, 12 : 12 + 48], page[top, 72 : 72 + 48])
        assert page[top, 12 : 12 + 48].min() >= 90
    assert about_sheet(key)["sets"] == {"center-32-64": 12, "center-16-64": 12}


def test_nothing_next_to_the_pages_gives_it_away(photos: Storage, tmp_path: Path) -> None:
    output = Storage(tmp_path / "sheet")
    sheet(photos, output)
    assert sorted(path.name for path in (tmp_path / "sheet").iterdir()) == [
        "answers.csv",
        *(f"page-00{number}.png" for number in range(1, 6)),
    ]
    assert output.read("answers.csv").decode().splitlines()[:2] == ["number,answer,reason", "1,,"]
    for path in (tmp_path / "sheet").iterdir():
        assert b"dark" not in path.read_bytes()
    with Image.open(tmp_path / "sheet" / "page-001.png") as page:
        assert not page.info


def test_the_seed_decides_the_sides(photos: Storage, tmp_path: Path) -> None:
    first, again, other = (
        sheet(photos, Storage(tmp_path / f"sheet-{number}"), seed=seed)
        for number, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert [pair.a for pair in first.pairs] != [pair.a for pair in other.pairs]
    left = [stands_left(0, "set", str(number)) for number in range(400)]
    assert 160 < sum(left) < 240


def test_the_key_comes_back(photos: Storage, tmp_path: Path) -> None:
    key = sheet(photos, Storage(tmp_path / "sheet"))
    assert read_key(key.to_json()) == key


def test_the_third_picture_shows_where_the_hole_is() -> None:
    mask = np.zeros((64, 64), np.bool_)
    mask[20:40, 10:50] = True
    fills = np.full((64, 64, 3), 10, np.uint8), np.full((64, 64, 3), 200, np.uint8)
    plain = draw_pair(7, fills, mask, Layout(4))
    shown = draw_pair(7, fills, mask, Layout(4, with_input=True))
    assert plain.shape == (28 + 28, 2 * (48 + 12) + 12, 3)
    assert np.array_equal(shown[:, : plain.shape[1] - 12], plain[:, :-12])
    third = shown[28:, -12 - 48 : -12]
    assert (third[10:18, 10:38] == 128).all()
    assert (third[4, 4:44] == (255, 0, 255)).all()
    assert (third[:4] == 10).all()
    # At the picture's border there is less around a hole.
    assert draw_pair(1, fills, mask, Layout(100)).shape[:2] == (64 + 28, 2 * (64 + 12) + 12)


class Missing(Computed):
    """Has nothing for one photograph."""

    def fill(self, case: Case) -> Pixels:
        if case.photo_id == "03.png":
            raise InvalidInput("no picture", code="result_missing")
        return super().fill(case)


def grey(pixels: Pixels, mask: Mask) -> Pixels:
    return np.full_like(pixels, 128)


def test_what_one_has_no_fill_for_is_left_out_and_reported(photos: Storage, tmp_path: Path) -> None:
    judged = comparison(grey=Computed(grey, ""), missing=Missing(grey, ""))
    photos.write("broken.png", b"no image")
    names = ["02.png", "03.png", "broken.png"]
    key = write_sheet(judged, photos.uri, names, Storage(tmp_path / "out"), Layout())
    assert [(pair.photo, pair.masks) for pair in key.pairs] == [
        ("02.png", "center-32-64"),
        ("02.png", "center-16-64"),
    ]
    assert key.left_out["center-32-64/03.png"] == "no picture"
    assert len(key.left_out) == 4
    with pytest.raises(ConfigError, match=r"no pair to show.*no picture"):
        write_sheet(judged, photos.uri, ["03.png"], Storage(tmp_path / "none"), Layout())


def test_two_methods_and_no_other_number(photos: Storage, tmp_path: Path) -> None:
    output = Storage(tmp_path / "out")
    with pytest.raises(ConfigError, match="1 methods: a sheet compares two"):
        write_sheet(comparison(grey=Computed(grey, "")), photos.uri, ["02.png"], output, Layout())
    with pytest.raises(ConfigError, match="1 pair or more"):
        write_sheet(comparison(), photos.uri, ["02.png"], output, Layout(8, 0))


def test_pages_are_pngs(photos: Storage, tmp_path: Path) -> None:
    output = Storage(tmp_path / "out")
    write_sheet(comparison(), photos.uri, ["02.png"], output, Layout())
    with Image.open(io.BytesIO(output.read("page-001.png"))) as page:
        assert page.format == "PNG"
