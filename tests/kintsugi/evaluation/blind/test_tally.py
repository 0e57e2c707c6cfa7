"""Tallies by hand, Wilson's interval, and what is wrong in a filled-in form."""

import json

import pytest

from kintsugi.errors import ConfigError
from kintsugi.evaluation.blind.sheet import Key, SheetPair
from kintsugi.evaluation.blind.tally import (
    Preference,
    format_tally,
    read_answers,
    read_key,
    tally,
    wilson,
)

PAIRS = (
    SheetPair(1, "a.png", "thick-64", "ours", "theirs", "page-001.png"),
    SheetPair(2, "b.png", "thick-64", "theirs", "ours", "page-001.png"),
    SheetPair(3, "c.png", "thick-64", "theirs", "ours", "page-001.png"),
    SheetPair(4, "a.png", "center-32-64", "ours", "theirs", "page-002.png"),
    SheetPair(5, "b.png", "center-32-64", "ours", "theirs", "page-002.png"),
)
KEY = Key(("ours", "theirs"), 0, "photos", {"ours": "1", "theirs": "2"}, PAIRS)
FORM = """number,answer,reason
1,A,a seam, on the left
2, a ,"fog, and a mesh"
3,=,
4,A,
5,,
"""


def test_wilson_by_published_values() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for wins, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = wilson(wins, trials)
        assert found.share == wins / trials
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert wilson(7, 7).high == 1


def test_the_form_is_read() -> None:
    answers = read_answers(FORM, KEY)
    assert answers == {
        1: Preference("A", "a seam, on the left"),
        2: Preference("A", "fog, and a mesh"),
        3: Preference("=", ""),
        4: Preference("A", ""),
    }
    # Without a heading, with a byte order mark and empty lines.
    assert read_answers("\ufeff1,B\n\n,,\n", KEY) == {1: Preference("B", "")}


def test_counts_by_hand() -> None:
    found = tally(KEY, read_answers(FORM, KEY))
    thick, center, both = found["tallies"]
    # Pair 1: A is ours. Pair 2: A is theirs.
    assert (thick["masks"], thick["pairs"], thick["first"], thick["second"], thick["equal"]) == (
        *("thick-64", 3, 1, 1, 1),
    )
    assert thick["preferred"][0] == pytest.approx(1 / 3)
    assert thick["of_decided"][0] == 0.5
    assert thick["left"][0] == 1
    assert (center["pairs"], center["first"]) == (1, 1)
    assert (both["masks"], both["pairs"], both["first"]) == ("all", 4, 2)
    assert both["preferred"] == wilson(2, 4)
    assert both["of_decided"] == wilson(2, 3)
    assert found["unanswered"] == [5]
    assert found["answers"][1] == {
        "number": 2,
        "photo": "b.png",
        "masks": "thick-64",
        "preferred": "theirs",
        "choice": "A",
        "reason": "fog, and a mesh",
    }
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found))


def test_the_text_reports_counts_intervals_and_reasons() -> None:
    text = format_tally(tally(KEY, read_answers(FORM, KEY)))
    assert "thick-64: ours preferred to theirs in 1 of 3 (33 %, 95 % interval 6-79)" in text
    assert "against ours:\n  2 b.png: fog, and a mesh\nfor ours:\n  1 a.png: a seam" in text
    assert text.endswith("unanswered: 5")


def test_only_ties_decide_nothing() -> None:
    (found,) = tally(KEY, {3: Preference("=", "")})["tallies"]
    assert (found["of_decided"], found["left"], found["preferred"][0]) == (None, None, 0)
    assert "of the decided" not in format_tally(tally(KEY, {3: Preference("=", "")}))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("1,A\n9,B\n", "line 2: '9' is no pair: they are 1 to 5"),
        ("x,A\n", "line 1: 'x' is no pair"),
        ("1,C\n", "line 1: 'C' is no answer: write A, B or ="),
        ("1,A\n1,B\n", "line 2: pair 1 is answered twice"),
    ],
)
def test_a_wrong_line_is_named(form: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_answers(form, KEY)


def test_nothing_answered_and_no_key_are_refused() -> None:
    with pytest.raises(ConfigError, match="no pair is answered"):
        tally(KEY, read_answers("number,answer,reason\n1,,\n", KEY))
    for text in ("number,answer", '{"methods": ["a"]}'):
        with pytest.raises(ConfigError, match="no key of"):
            read_key(text)
