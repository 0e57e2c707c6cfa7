"""jobs/compare.py from the command line: a sheet, its key apart, and the tally."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED
from kintsugi.jobs.compare import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, and fills of another program for two of them."""
    for name in ("photos", "theirs"):
        (tmp_path / name).mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 90, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
        if number < 2:
            Image.new("RGB", (64, 64), "red").save(tmp_path / "theirs" / f"{number}.png")
    return tmp_path


def sheet(folder: Path, *others: str) -> list[str]:
    methods = f"telea,red=folder:{folder / 'theirs'}"
    return [
        *("sheet", "--photos", str(folder / "photos"), "--masks", "center-32-64"),
        *("--methods", methods, "--output", str(folder / "sheet"), *others),
    ]


def test_from_photographs_to_a_tally(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = folder / "hidden" / "key.json"
    assert main(sheet(folder, "--key", str(key), "--limit", "2")) == DONE
    assert f"2 pairs on 1 page in {folder}/sheet" in capsys.readouterr().out
    pairs = json.loads(key.read_text())["pairs"]
    form = folder / "sheet" / "answers.csv"
    assert form.read_text() == "number,answer,reason\n1,,\n2,,\n"
    # The red one each time.
    lines = [f"{pair['number']},{'A' if pair['a'] == 'red' else 'B'},red" for pair in pairs]
    form.write_text("\n".join(lines))
    figures = folder / "tally.json"
    arguments = ["tally", "--key", str(key), "--answers", str(form), "--json", str(figures)]
    assert main(arguments) == DONE
    assert "telea preferred to red in 0 of 2 (0 %, 95 % interval 0-66)" in capsys.readouterr().out
    assert json.loads(figures.read_text())["tallies"][0]["second"] == 2
    form.write_text(lines[0])
    assert main(arguments) == SOME_REJECTED
    assert "unanswered: 2" in capsys.readouterr().out


def test_a_missing_fill_is_exit_code_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(sheet(folder, "--key", str(folder / "key.json"))) == SOME_REJECTED
    assert "left out: center-32-64/2.png: " in capsys.readouterr().out


def test_the_key_is_never_among_the_pages(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is in the folder of the pages"):
        main(sheet(folder, "--key", str(folder / "sheet" / "key.json")))


def test_the_key_is_not_among_the_pages_by_another_path_either(folder: Path) -> None:
    (folder / "sheet").mkdir()
    (folder / "x").mkdir()
    (folder / "link").symlink_to("sheet")
    (folder / "key.json").symlink_to("sheet/key.json")
    for key in ("x/../sheet/key.json", "link/key.json", "link/below/key.json", "key.json"):
        with pytest.raises(ConfigError, match="is in the folder of the pages"):
            main(sheet(folder, "--key", str(folder / key)))
    assert list((folder / "sheet").iterdir()) == []


def test_what_a_judge_answered_is_never_lost(folder: Path) -> None:
    key, form = folder / "key.json", folder / "sheet" / "answers.csv"
    more = ("--key", str(key), "--limit", "2", "--per-page", "1")
    assert main(sheet(folder, *more)) == DONE
    empty, first = form.read_text(), key.read_text()
    for answers in (
        empty.replace("1,,", "1,A,looks better"),
        empty.replace("2,,", "2,,cannot say"),
        "number;answer;reason\n1;B;\n2;;\n",
    ):
        form.write_text(answers)
        with pytest.raises(ConfigError, match=r"answers\.csv holds 1 of a judge's answers"):
            main(sheet(folder, *more))
        assert (form.read_text(), key.read_text()) == (answers, first)
    form.write_text("number;answer;reason\n1;;\n2;;\n")
    assert main(sheet(folder, *more, "--limit", "1", "--seed", "3")) == DONE
    names = sorted(path.name for path in (folder / "sheet").iterdir())
    assert names == ["answers.csv", "page-001.png"], "the longer sheet's second page is gone"
    other = sheet(folder, *more)
    other[other.index("--output") + 1] = str(folder / "other")
    with pytest.raises(ConfigError, match=r"key\.json is there already, and .*other holds no"):
        main(other)


def test_usage(folder: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    with pytest.raises(SystemExit, match="2"):
        main(sheet(folder))
    with pytest.raises(ConfigError, match="cannot be read"):
        main(["tally", "--key", str(folder / "none"), "--answers", str(folder / "none")])
