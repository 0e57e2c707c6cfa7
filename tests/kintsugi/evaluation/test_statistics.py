"""Statistics of an evaluation against their definitions."""

import json

import numpy as np
import pytest

from kintsugi.evaluation.evaluate import CaseResult, PhotoResult
from kintsugi.evaluation.statistics import bootstrap_means, case_rows, summarise, summarise_times


def results(values: list[float], shares: list[float] | None = None) -> list[PhotoResult]:
    shares = shares or [0.25] * len(values)
    return [
        PhotoResult(
            f"{number}.png",
            (
                CaseResult("thick-64", "a", share, {"hole_l1_percent": value, "ssim": 1.0}, 0.5),
                CaseResult("thick-64", "b", share, {"hole_l1_percent": 2 * value, "ssim": 0.5}),
            ),
        )
        for number, (value, share) in enumerate(zip(values, shares, strict=True))
    ]


def test_mean_and_deviation_by_hand() -> None:
    first, second = summarise(results([1.0, 2.0, 6.0]))
    assert (first["masks"], first["method"], first["photographs"]) == ("thick-64", "a", 3)
    assert first["metrics"]["hole_l1_percent"]["mean"] == 3
    assert first["metrics"]["hole_l1_percent"]["sd"] == pytest.approx(np.sqrt(7), abs=1e-6)
    assert second["metrics"]["hole_l1_percent"]["mean"] == 6
    assert first["hole_share"] == 0.25


def test_the_interval_is_that_of_a_bootstrap() -> None:
    values = np.random.default_rng(1).normal(10, 2, 100).round(4).tolist()
    found = summarise(results(values))[0]["metrics"]["hole_l1_percent"]
    # For so many values that of the normal distribution, nearly.
    half = 1.96 * np.std(values, ddof=1) / 10
    assert found["low"] == pytest.approx(np.mean(values) - half, abs=0.1)
    assert found["high"] == pytest.approx(np.mean(values) + half, abs=0.1)
    means = bootstrap_means(np.array(values)[:, None], [f"{i}.png" for i in range(100)], 0)
    assert found["low"] == pytest.approx(np.percentile(means, 2.5), abs=1e-6)
    # Methods are resampled alike: twice the values, twice the interval.
    twice = summarise(results(values))[1]["metrics"]["hole_l1_percent"]
    assert twice["low"] == pytest.approx(2 * found["low"], abs=1e-5)


def test_resampling_is_seeded() -> None:
    values = np.arange(20.0)[:, None]
    ids = [str(number) for number in range(20)]
    assert np.array_equal(bootstrap_means(values, ids, 1), bootstrap_means(values, ids, 1))
    assert not np.array_equal(bootstrap_means(values, ids, 1), bootstrap_means(values, ids, 2))
    assert len(np.unique(bootstrap_means(np.ones((20, 1)), ids, 0))) == 1


def test_a_photograph_is_drawn_as_often_whatever_the_others_are() -> None:
    rng = np.random.default_rng(0)
    values, ids = rng.normal(0, 1, (40, 1)), [f"{number}.png" for number in range(40)]
    whole = bootstrap_means(values, ids, 0)[:, 0]
    # In another order the same resamples; without one photograph nearly the same ones.
    assert bootstrap_means(values[::-1], ids[::-1], 0)[:, 0] == pytest.approx(whole)
    fewer = bootstrap_means(values[1:], ids[1:], 0)[:, 0]
    assert np.corrcoef(whole, fewer)[0, 1] > 0.95


def test_one_photograph_has_no_deviation() -> None:
    found = summarise(results([4.0]))[0]["metrics"]["hole_l1_percent"]
    assert found == {"mean": 4, "sd": 0, "low": 4, "high": 4}


def test_bins_by_hole() -> None:
    first = summarise(results([1.0, 2.0, 6.0], [0.05, 0.31, 0.39]))[0]
    assert [(each["from"], each["to"], each["photographs"]) for each in first["bins"]] == [
        (0, 0.1, 1),
        (0.3, 0.4, 2),
    ]
    assert first["bins"][1]["metrics"]["hole_l1_percent"] == 4


def test_worst_cases_come_first_and_equal_ones_by_name() -> None:
    worst = summarise(results([1, 7, 3, 7, 2, 5, 4]))[0]["worst"]
    assert [row["photo"] for row in worst] == ["1.png", "3.png", "5.png", "6.png", "2.png"]


def test_what_has_no_fill_is_counted_out_and_reported() -> None:
    missing = CaseResult("thick-64", "a", 0.25, {}, problem="no picture")
    found = [
        *results([1.0, 3.0]),
        PhotoResult("x.png", (missing,)),
        PhotoResult("y", reject="broken"),
    ]
    first, second = summarise(found)
    assert (first["photographs"], second["photographs"]) == (2, 2)
    assert first["problems"] == {"x.png": "no picture"}
    assert "problems" not in second
    (alone,) = summarise([PhotoResult("x.png", (missing,))])
    assert alone == {
        "masks": "thick-64",
        "method": "a",
        "photographs": 0,
        "problems": {"x.png": "no picture"},
    }


def test_times_are_apart() -> None:
    found = results([1.0, 2.0])
    assert "seconds" not in json.dumps(summarise(found))
    first, second = summarise_times(found)
    assert first == {
        "masks": "thick-64",
        "method": "a",
        "seconds": {"median": 0.5, "mean": 0.5},
        "kept": 0,
    }
    assert second["seconds"] is None


def test_the_rows_behind_the_means() -> None:
    rows = case_rows(results([1.0, 2.0]))
    assert len(rows) == 4
    assert rows[2] == {
        "photo": "1.png",
        "masks": "thick-64",
        "method": "a",
        "hole_share": 0.25,
        "hole_l1_percent": 2.0,
        "ssim": 1.0,
    }


@pytest.mark.slow
def test_inceptions_features_give_the_figures_of_sets() -> None:
    rng = np.random.default_rng(0)
    found = []
    for number in range(12):
        answer, truth = rng.normal(0, 1, (2, 4)).astype(np.float32)
        fill = CaseResult("m", "a", 0.2, {"hole_l1_percent": 1.0}, inception=answer.tobytes())
        found.append(PhotoResult(str(number), (fill,), inception={"m": truth.tobytes()}))
    (row,) = summarise(found)
    assert set(row["set_metrics"]) == {"fid", "u_ids", "p_ids"}
    assert "set_metrics" not in summarise(results([1.0]))[0]
