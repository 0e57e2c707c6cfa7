"""The table of latency: which cases are filled, how often, and what it says of them."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from kintsugi.benchmarks.serve.latency import LatencyRow, measure, run_latency
from kintsugi.benchmarks.serve.latency_plan import LatencyPlan
from kintsugi.benchmarks.serve.latency_report import draw_latency, format_latency
from kintsugi.benchmarks.serve.latency_worker import MeasuredFill
from kintsugi.benchmarks.serve.memory import tree_seconds
from kintsugi.benchmarks.serve.requests import PreparedRequest, make_request
from kintsugi.benchmarks.serve.serve_plan import ServeCase
from kintsugi.errors import ConfigError


class Timed:
    """A method that takes a second for each megapixel, and refuses photographs over 3 MP."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.seen: list[float] = []

    def fill(self, request: PreparedRequest) -> MeasuredFill:
        megapixels = round(request.case.megapixels, 2)
        self.seen.append(megapixels)
        if megapixels > 3:
            return MeasuredFill(0.0, 0.0, 0, problem="HTTP 413")
        seconds = self.factor * megapixels
        return MeasuredFill(seconds, 2 * seconds, round(megapixels * 2**20))


def request_of(case: ServeCase) -> PreparedRequest:
    return PreparedRequest(case, b"", b"", b"", "")


def measured(rounds: int = 2) -> tuple[list[LatencyRow], dict[str, Timed]]:
    plan = LatencyPlan("x", megapixels=(4, 0.25, 1), holes=(0.1,), rounds=rounds, limit=0.9)
    fillers = {"process": Timed(1.0), "telea": Timed(0.1)}
    *_, rows = measure(plan, dict(fillers), request_of, lambda _: None)
    return rows, fillers


def test_each_method_warms_up_and_takes_its_rounds_until_it_takes_too_long() -> None:
    rows, fillers = measured()
    # The first of each size is not counted; 1 MP takes over 0.9 s, so once is enough.
    assert fillers["process"].seen == [0.25, 0.25, 0.25, 1.0]
    assert fillers["telea"].seen == [0.25] * 3 + [1.0] * 3 + [4.0]
    found = {(row.method, round(row.case.megapixels, 2)): row for row in rows}
    assert [len(found["process", size].fills) for size in (0.25, 1.0, 4.0)] == [2, 1, 0]
    assert found["process", 4.0].left_out == "over 0.9 s at a smaller size"
    assert found["telea", 4.0].left_out == "HTTP 413"


def test_long_fills_are_not_made_once_more_to_warm_up() -> None:
    plan = LatencyPlan("x", megapixels=(0.25, 1), holes=(0.1,), rounds=1, limit=60)
    # Half a second of processors at 0.25 MP, eight at 1 MP.
    fillers = {"process": Timed(4.0), "telea": Timed(0.1)}
    *_, rows = measure(plan, dict(fillers), request_of, lambda _: None)
    assert fillers["process"].seen == [0.25, 0.25, 1.0]
    assert fillers["telea"].seen == [0.25, 0.25, 1.0, 1.0]
    assert [len(row.fills) for row in rows] == [1, 1, 1, 1]


def test_a_table_that_was_cut_off_goes_on() -> None:
    whole, _ = measured()
    plan = LatencyPlan("x", megapixels=(4, 0.25, 1), holes=(0.1,), rounds=2, limit=0.9)
    fillers = {"process": Timed(1.0), "telea": Timed(0.1)}
    first = next(iter(measure(plan, dict(fillers), request_of, lambda _: None)))
    before = [LatencyRow.from_dict(row.to_dict()) for row in first]
    assert {round(row.case.megapixels, 2) for row in before} == {0.25}
    again = {"process": Timed(1.0), "telea": Timed(0.1)}
    *_, rows = measure(plan, dict(again), request_of, lambda _: None, before)
    assert rows == whole
    assert 0.25 not in again["telea"].seen
    # What took too long before is still left out.
    slow = [row for row in rows if round(row.case.megapixels, 2) <= 1]
    third = {"process": Timed(1.0), "telea": Timed(0.1)}
    *_, rows = measure(plan, dict(third), request_of, lambda _: None, slow)
    assert rows == whole
    assert third["process"].seen == []


def test_figures_of_another_run_are_not_mixed_in() -> None:
    plan = LatencyPlan("x", megapixels=(0.25,), rounds=2)
    with pytest.raises(ConfigError, match="release='y', and this run 'x': write them to another"):
        next(run_latency(plan, lambda _: None, {"release": "y", "rows": []}))


def test_the_table_has_ratios_to_the_process_and_the_picture_is_one() -> None:
    rows, _ = measured()
    figures = {
        **{"release": "x", "photo": "y", "device": "cpu", "rounds": 2, "cores": 2},
        **{"load_average": 0.0, "rows": [row.to_dict() for row in rows]},
    }
    table = format_latency(figures)
    assert "| 0.25 | 10 % | process | 0.250 | 0.250 | 1.00 | 0.50 | 1.00 | 0 |" in table
    assert "| 1.00 | 10 % | telea | 0.100 | 0.100 | 0.10 | 0.20 | 0.10 | 1 |" in table
    assert "| 4.00 | 10 % | telea | HTTP 413 | - | - | - | - | - |" in table
    picture = Image.open(io.BytesIO(draw_latency(figures)))
    assert np.asarray(picture).std() > 10
    assert draw_latency(figures, of="processor") != draw_latency(figures)
    unknown = [fill | {"cpu_seconds": 0.0} for fill in figures["rows"][0]["fills"]]
    rows_without = [figures["rows"][0] | {"fills": unknown}, *figures["rows"][1:]]
    assert draw_latency({**figures, "rows": rows_without}, of="processor")
    with pytest.raises(ConfigError, match="'minutes' cannot be drawn: choose of seconds, proc"):
        draw_latency(figures, of="minutes")
    with pytest.raises(ConfigError, match="nothing was measured"):
        draw_latency({**figures, "rows": [row | {"fills": []} for row in figures["rows"]]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ("lama",)}, "method 'lama': choose of process, graph"),
        ({"rounds": 0}, "rounds: at least 1"),
        ({"holes": (1.0,)}, "hole 1: a share over 0"),
        ({"megapixels": ()}, "at least one size"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LatencyPlan("x", **values)  # type: ignore[arg-type]


def test_processor_time_of_what_was_started_is_seen() -> None:
    import multiprocessing
    import os

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before = tree_seconds(os.getpid())
        pool.apply(_work)
        assert tree_seconds(os.getpid()) - before > 0.2


def _work() -> None:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass


@pytest.mark.slow
def test_a_method_is_measured_in_a_process_of_its_own() -> None:
    plan = LatencyPlan("x", megapixels=(0.01,), holes=(0.1,), methods=("telea",), rounds=2)
    (figures,) = run_latency(plan, lambda _: None)
    (row,) = figures["rows"]
    assert row["side_px"] == 100
    assert [fill["problem"] for fill in row["fills"]] == ["", ""]
    assert all(fill["seconds"] > 0 for fill in row["fills"])


def test_a_gpu_that_is_not_here_ends_it_before_the_first_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said: list[str] = []
    with pytest.raises(ConfigError, match="device 'cuda': PyTorch finds no GPU here"):
        next(run_latency(LatencyPlan("x", device="cuda"), said.append))
    assert said == []


def test_a_hole_of_a_thousandth_is_there() -> None:
    made = make_request(np.zeros((300, 300, 3), np.uint8), ServeCase(256, 0.001))
    mask = np.asarray(Image.open(io.BytesIO(made.mask)))
    assert (mask > 0).sum() == 8**2
