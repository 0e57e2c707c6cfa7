"""Evaluation of photographs: what methods see, what is measured, what is kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from kintsugi.data.evaluation_photos import square_crop
from kintsugi.data.mask_shards import open_mask_set, write_mask_set
from kintsugi.errors import InvalidInput
from kintsugi.evaluation.entrants import Case, Computed
from kintsugi.evaluation.evaluate import (
    Comparison,
    EvaluationPhoto,
    PhotoResult,
    evaluate,
    evaluate_photo,
)
from kintsugi.evaluation.fill_cache import FillCache
from kintsugi.evaluation.realism.realism import HoleSampler
from kintsugi.evaluation.statistics import summarise
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.codec import decode_image, encode_image
from kintsugi.masks.sets import parse_mask_set
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.storage.storage import Storage


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.evaluation.evaluate.ray_is_running", lambda: False)


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
    filled[~mask] ^= 1
    return filled


class Missing(Computed):
    """Has nothing for one mask set."""

    def fill(self, case: Case) -> Pixels:
        if case.masks == "random-64":
            raise InvalidInput("no picture", code="result_missing")
        return super().fill(case)


CENTER = parse_mask_set("center-32-64")
GREY = Computed(grey, "grey 1")


def test_a_photograph_through_two_methods_and_two_mask_sets() -> None:
    comparison = Comparison(
        {"grey": GREY, "marks": Computed(leaves_marks, "")}, [CENTER, parse_mask_set("random-64")]
    )
    result = evaluate_photo(comparison, EvaluationPhoto("a.png", encode_image(photo(0)), True))
    assert [(row.masks, row.method) for row in result.filled] == [
        (masks, method) for masks in ("center-32-64", "random-64") for method in ("grey", "marks")
    ]
    first, second = result.filled[:2]
    assert first.hole_share == 0.25
    truth = square_crop(photo(0), 64)
    expected = 100 / 255 * np.abs(truth[16:48, 16:48].astype(int) - 128).mean()
    assert first.figures["hole_l1_percent"] == pytest.approx(expected)
    assert (first.figures["known_equal"], second.figures["known_equal"]) == (1, 0)
    # What a method does to known pixels is seen in that alone: the rest is of the composed image.
    assert second.figures == {**first.figures, "known_equal": 0}
    assert first.seconds is not None
    assert first.seconds > 0
    pictures = result.pictures["center-32-64"]
    assert list(pictures) == ["input", "mask", "grey", "marks", "truth"]
    # A method that keeps what it finds in the hole has nothing of the truth.
    assert (decode_image(pictures["input"]).pixels[16:48, 16:48] == 0).all()
    assert np.array_equal(decode_image(pictures["truth"]).pixels, truth)


def test_what_cannot_be_used_is_a_reject(tmp_path: Path) -> None:
    comparison = Comparison({"grey": GREY}, [CENTER])
    broken = evaluate_photo(comparison, EvaluationPhoto("a.png", b"\x89PNG\r\n\x1a\n broken"))
    assert "decoded" in broken.reject
    assert not broken.filled
    gone = evaluate_photo(comparison, EvaluationPhoto("gone.png", Storage(tmp_path)))
    assert "gone.png" in gone.reject
    write_mask_set(CENTER, ["other.png"], Storage(tmp_path / "masks"))
    stored = Comparison({"grey": GREY}, [open_mask_set(str(tmp_path / "masks"))])
    result = evaluate_photo(stored, EvaluationPhoto("a.png", encode_image(photo(0))))
    assert "no mask for a.png" in result.reject


def test_a_method_without_a_fill_keeps_none_of_the_others_back() -> None:
    comparison = Comparison(
        {"missing": Missing(grey, ""), "grey": GREY}, [CENTER, parse_mask_set("random-64")]
    )
    result = evaluate_photo(comparison, EvaluationPhoto("a.png", encode_image(photo(0)), True))
    problems = [row.problem for row in result.filled]
    assert problems == ["", "", "no picture", ""]
    assert list(result.pictures["random-64"]) == ["input", "mask", "grey", "truth"]


def test_a_fill_that_is_kept_is_not_made_again(tmp_path: Path) -> None:
    calls = []

    def counted(pixels: Pixels, mask: Mask) -> Pixels:
        calls.append(1)
        return grey(pixels, mask)

    entrants = {"kept": Computed(counted, "counted 1"), "nameless": Computed(counted, "")}
    comparison = Comparison(entrants, [CENTER], cache=FillCache(Storage(tmp_path)))
    data = encode_image(photo(0))
    first = evaluate_photo(comparison, EvaluationPhoto("a.png", data))
    assert len(calls) == 2
    second = evaluate_photo(comparison, EvaluationPhoto("a.png", data))
    # Only that whose answers nothing decides is asked again.
    assert len(calls) == 3
    assert [row.kept for row in first.filled + second.filled] == [False, False, True, False]
    assert second.filled[0].seconds == first.filled[0].seconds
    assert second.filled[0].figures == first.filled[0].figures


@pytest.mark.skipif(torch.cuda.is_available(), reason="threads decide on processors only")
def test_a_fill_of_another_number_of_threads_is_another(tmp_path: Path) -> None:
    comparison = Comparison(
        {"kept": Computed(grey, "grey 1")}, [CENTER], cache=FillCache(Storage(tmp_path))
    )
    data = encode_image(photo(0))
    threads, kept = torch.get_num_threads(), []
    try:
        for number in (1, 2, 1):
            torch.set_num_threads(number)
            (row,) = evaluate_photo(comparison, EvaluationPhoto("a.png", data)).filled
            kept.append(row.kept)
    finally:
        torch.set_num_threads(threads)
    assert kept == [False, False, True]


def test_stored_masks_give_the_same_figures(tmp_path: Path) -> None:
    drawn = parse_mask_set("thick-64", seed=4)
    write_mask_set(drawn, ["a.png"], Storage(tmp_path))
    photograph = EvaluationPhoto("a.png", encode_image(photo(0)))
    here, there = (
        evaluate_photo(Comparison({"grey": GREY}, [masks]), photograph).filled[0]
        for masks in (drawn, open_mask_set(str(tmp_path)))
    )
    assert (here.figures, here.masks) == (there.figures, there.masks)


def test_realism_is_judged_from_what_was_sampled_of_each_photograph() -> None:
    comparison = Comparison(
        {"grey": GREY, "marks": Computed(leaves_marks, "")},
        [CENTER],
        sampler=HoleSampler(Vgg19Relu3.random(0)),
    )
    given = [EvaluationPhoto(f"{seed}.png", encode_image(photo(seed))) for seed in range(3)]
    results = list(evaluate(given, comparison))
    grey_entry, marked = summarise(results)
    # Two methods that fill alike are judged alike, whatever one does outside the hole.
    assert grey_entry["realism"] == marked["realism"]
    layers = grey_entry["realism"]["layers"]
    assert {name: layer["cells"] for name, layer in layers.items()} == {
        "relu2_1": 3 * 48,
        "relu3_1": 3 * 32,
    }
    assert layers["relu2_1"]["distance"] > 2 * layers["relu2_1"]["floor"]
    assert grey_entry["realism"]["laplacian"]["median"] < 0.5
    # They are medians over photographs, and no means.
    assert "laplacian" not in grey_entry["metrics"]
    first = results[0].filled[0].figures
    assert list(first)[:2] == ["outline_step", "laplacian"]
    # Without an encoder there are no cells.
    bare = summarise(list(evaluate(given, Comparison({"grey": GREY}, [CENTER]))))[0]["realism"]
    assert bare == {**grey_entry["realism"], "layers": {}}


def test_results_travel_as_json() -> None:
    sampler = HoleSampler(Vgg19Relu3.random(0))
    result = evaluate_photo(
        Comparison({"grey": GREY}, [CENTER], sampler=sampler),
        EvaluationPhoto("a.png", encode_image(photo(0)), True),
    )
    adapter = TypeAdapter(PhotoResult)
    assert adapter.validate_json(adapter.dump_json(result)) == result


def test_photographs_are_taken_as_they_are_needed() -> None:
    def photos() -> object:
        yield EvaluationPhoto("a.png", encode_image(photo(0)))
        raise AssertionError("asked for too early")

    results = evaluate(photos(), Comparison({"grey": GREY}, [CENTER]))
    assert next(results).id == "a.png"
