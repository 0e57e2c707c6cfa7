"""Evaluation: seeded masks, prepared photographs, figures that come out the same twice."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.comparison import compare, open_comparison
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.evaluation import (
    Comparison,
    MaskSet,
    Photo,
    evaluate_photo,
    list_photos,
    mask_of,
    parse_mask_set,
    square_crop,
)
from kintsugi.figures import draw_grid, format_table, summarise
from kintsugi.images import encode_image
from kintsugi.methods import CLASSICAL, Mask, Pixels


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.tasks.ray_is_running", lambda: False)


def photo(seed: int, height: int = 80, width: int = 120) -> Pixels:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (5 + seed + k)) + np.cos(columns / (9 + k)) for k in range(3)]
    return (np.stack(waves, axis=2) * 60 + 128).astype(np.uint8)


def grey(pixels: Pixels, mask: Mask) -> Pixels:
    filled = pixels.copy()
    filled[mask] = 128
    return filled


def leaves_marks(pixels: Pixels, mask: Mask) -> Pixels:
    filled = grey(pixels, mask)
    filled[0, 0] ^= 1
    return filled


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        (folder / f"photo-{seed}.png").write_bytes(encode_image(photo(seed)))
    (folder / "notes.txt").write_text("not a photograph")
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("center-96-256", MaskSet("center-96-256", "center-96", 256)),
        ("centre-96-256", MaskSet("centre-96-256", "center-96", 256)),
        ("center-half-512", MaskSet("center-half-512", "center-half", 512)),
        ("random-256", MaskSet("random-256", "rectangle", 256)),
        ("thick-256", MaskSet("thick-256", "thick", 256)),
    ],
)
def test_names_of_mask_sets(name: str, expected: MaskSet) -> None:
    assert parse_mask_set(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("thick", "names no size"),
        ("thick-0", "names no size"),
        ("thick-100", "multiple of 8"),
        ("thick-32", "at least 64"),
        ("fog-256", "'fog' is not known"),
        ("center-256-256", "leaves nothing"),
    ],
)
def test_refuses_other_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_mask_set(name)


def test_masks_depend_on_seed_photograph_and_set_alone() -> None:
    strokes = parse_mask_set("thick-64")
    mask = mask_of(strokes, "a.jpg", 0)
    assert np.array_equal(mask, mask_of(strokes, "a.jpg", 0))
    assert not np.array_equal(mask, mask_of(strokes, "b.jpg", 0))
    assert not np.array_equal(mask, mask_of(strokes, "a.jpg", 1))
    # The hole of the paper's test is where it always is.
    center = mask_of(parse_mask_set("center-24-64"), "a.jpg", 5)
    assert center.nonzero()[0].min() == center.nonzero()[1].min() == 20
    assert center.sum() == 24 * 24


def test_photographs_are_cut_square_in_the_middle_and_resized_by_lanczos() -> None:
    pixels = photo(0, 50, 91)
    middle = Image.fromarray(pixels[:, 20:70]).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(square_crop(pixels, 64), np.array(middle))
    assert np.array_equal(square_crop(pixels[:, 20:70], 50), pixels[:, 20:70])


def test_a_photograph_through_two_methods_and_two_mask_sets() -> None:
    comparison = Comparison(
        {"grey": grey, "marks": leaves_marks},
        [parse_mask_set("center-32-64"), parse_mask_set("random-64")],
    )
    result = evaluate_photo(comparison, Photo("a.png", encode_image(photo(0)), True))
    assert [filled.mask_set for filled in result.filled] == ["center-32-64", "random-64"]
    first = result.filled[0]
    assert first.hole_share == 0.25
    truth = square_crop(photo(0), 64)
    expected = 100 / 255 * np.abs(truth[16:48, 16:48].astype(int) - 128).mean()
    assert first.figures["grey"]["hole_l1_percent"] == pytest.approx(expected)
    assert (first.figures["grey"]["known_equal"], first.figures["marks"]["known_equal"]) == (1, 0)
    assert list(first.pictures) == ["input", "mask", "grey", "marks", "truth"]
    # A method that keeps what it finds in the hole has nothing of the truth.
    assert (first.pictures["input"][16:48, 16:48] == 0).all()
    assert np.array_equal(first.pictures["truth"], truth)


def test_what_cannot_be_decoded_is_a_reject() -> None:
    result = evaluate_photo(Comparison({}, []), Photo("a.png", b"\x89PNG\r\n\x1a\n broken"))
    assert "decoded" in result.reject
    assert not result.filled


def test_mean_and_deviation_by_hand() -> None:
    comparison = Comparison({"grey": grey}, [parse_mask_set("center-32-64")])
    results = [evaluate_photo(comparison, Photo(str(i), encode_image(photo(i)))) for i in range(3)]
    values = [result.filled[0].figures["grey"]["ssim"] for result in results]
    (row,) = summarise(results)
    assert row["photographs"] == 3
    assert row["metrics"]["ssim"]["mean"] == pytest.approx(sum(values) / 3)
    assert row["metrics"]["ssim"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert summarise(results[:1])[0]["metrics"]["ssim"]["sd"] == 0


def test_two_runs_differ_in_their_times_alone(photos: Path) -> None:
    def figures() -> str:
        comparison, about = open_comparison(
            ["telea", "ns"], ["random-64", "border-64"], encoder="random"
        )
        _, found = compare(str(photos), comparison, about)
        for row in found["figures"]:
            assert row.pop("seconds") > 0
        return json.dumps(found)

    first = figures()
    assert first == figures()
    found = json.loads(first)
    assert found["vgg_encoder"] == "random (seed 0)"
    assert found["photographs"] == 3
    assert {(row["masks"], row["method"]) for row in found["figures"]} == {
        (masks, method) for masks in ("random-64", "border-64") for method in ("telea", "ns")
    }


def test_limit_and_rejects(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 cut")
    comparison = Comparison({"grey": grey}, [parse_mask_set("center-32-64")])
    about = open_comparison(["telea"], [])[1]
    seen = []
    _, figures = compare(
        str(photos),
        comparison,
        about,
        limit=2,
        report=lambda result, done, total: seen.append((result.id, done, total)),
    )
    assert seen == [("broken.jpg", 1, 2), ("photo-0.png", 2, 2)]
    assert list(figures["rejects"]) == ["broken.jpg"]
    with pytest.raises(InvalidInput, match=r"none of the 1 photographs.*broken\.jpg"):
        compare(str(photos), comparison, about, limit=1)


def test_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="method 'magic' is not known: use one of ours, telea"):
        open_comparison(["magic"], ["random-64"])
    with pytest.raises(StorageError, match="nowhere"):
        open_comparison(["ours"], ["random-64"], release=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="no photographs in"):
        list_photos(str(tmp_path))
    with pytest.raises(ConfigError, match="limit 0"):
        list_photos(str(tmp_path), 0)


def test_table_and_grid(photos: Path) -> None:
    comparison = Comparison(dict(CLASSICAL), [parse_mask_set("center-32-64")])
    about = open_comparison(["telea"], [])[1]
    results, figures = compare(str(photos), comparison, about)
    lines = format_table(figures["figures"], "random (seed 0)").splitlines()
    assert lines[0].split()[:3] == ["masks", "method", "n"]
    assert "VGG" not in lines[0]
    assert [line.split()[:3] for line in lines[1:-1]] == [
        ["center-32-64", "telea", "3"],
        ["center-32-64", "ns", "3"],
        ["center-32-64", "patchmatch", "3"],
    ]
    # Numbers stand under one another.
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1] == "VGG distance (encoder: random (seed 0))"
    with Image.open(io.BytesIO(draw_grid(results))) as grid:
        assert grid.size == (6 * 256, 3 * 256 + 18)
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_grid([])
