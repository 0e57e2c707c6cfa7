"""Realism as columns: every figure under its heading, a gap where there is none."""

from typing import Any

from kintsugi.evaluation.realism.table import realism_columns


def realism(layers: bool = True) -> dict[str, Any]:
    spread = {"median": 1.0, "low": 0.5, "high": 2.0}
    layer = {"distance": 0.25, "floor": 0.05, "error": 0.4}
    kid = {"kid": 0.1, "kid_low": 0.05, "kid_high": 0.2}
    found = {"relu2_1": layer | kid, "relu3_1": layer | kid}
    return {"layers": found if layers else {}, "outline_step": spread, "laplacian": spread}


def test_all_columns() -> None:
    headings, rows = realism_columns([{"realism": realism()}, {}])
    assert dict(zip(headings, rows[0], strict=True)) == {
        "distance relu2_1 (floor)": "0.250 (0.050)",
        "distance relu3_1 (floor)": "0.250 (0.050)",
        "KID (95 %)": "0.100 (0.050 to 0.200)",
        "classifier error": "0.400",
        "outline step (quartiles)": "1.00 (0.50 to 2.00)",
        "Laplacian (quartiles)": "1.00 (0.50 to 2.00)",
    }
    assert rows[1] == ["-"] * 6


def test_without_an_encoder_there_are_no_distances() -> None:
    headings, _ = realism_columns([{"realism": realism(layers=False)}])
    assert headings == ["outline step (quartiles)", "Laplacian (quartiles)"]
    assert realism_columns([{}, {}]) == ([], [[], []])


def test_one_photograph_has_no_interval() -> None:
    alone = realism()
    alone["layers"]["relu3_1"] |= {"kid": None, "error": None}
    headings, _ = realism_columns([{"realism": alone}])
    assert "KID (95 %)" not in headings
    assert "classifier error" not in headings
