"""A folder of photographs: one bad file ends nothing, and a second run does what is missing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kintsugi.errors import InvalidInput, StorageError
from kintsugi.inference.folder import FolderRun, Item, Made, plan_outputs, work_folder
from kintsugi.inference.folder_report import Outcome, Summary
from kintsugi.storage.backends import Survey
from kintsugi.storage.storage import Storage


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.storage.parallel.ray_is_running", lambda: False)


@dataclass(frozen=True)
class Reversing:
    """Work that is easy to see: the bytes backwards; some files are bad."""

    source: Storage

    def __call__(self, item: Item) -> Made:
        data = self.source.read(item.id)
        if data == b"bad":
            raise InvalidInput("it is bad", code="image_bad")
        return Made(data[::-1], ("a note",))


@dataclass(frozen=True)
class Folders:
    source: Storage
    output: Storage

    def work(self, **options: Any) -> Summary:
        plan = plan_outputs(self.source.survey(), "png")
        return work_folder(plan, Reversing(self.source), self.output, FolderRun(**options))

    def rows(self) -> dict[str, dict[str, Any]]:
        lines = self.output.read("report.jsonl").decode().splitlines()
        return {row["id"]: row for row in map(json.loads, lines)}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(Storage(tmp_path / "source"), Storage(tmp_path / "output"))


def test_every_photograph_becomes_a_png_and_a_row(folders: Folders) -> None:
    for name in ("a.jpg", "deep/b.PNG", "notes.txt"):
        folders.source.write(name, b"abc")
    folders.source.write("c.tiff", b"bad")
    summary = folders.work()
    assert [(each.id, each.status) for each in summary.outcomes] == [
        ("a.jpg", "done"),
        ("c.tiff", "failed"),
        ("deep/b.PNG", "done"),
        ("notes.txt", "left_out"),
    ]
    assert [each.id for each in summary.failed] == ["c.tiff"]
    assert folders.output.list() == ["a.png", "deep/b.png", "report.jsonl"]
    assert folders.output.read("deep/b.png") == b"cba"
    row = folders.rows()["c.tiff"]
    assert (row["status"], row["code"], row["reason"]) == ("failed", "image_bad", "it is bad")


def test_a_second_run_does_only_what_is_missing(folders: Folders) -> None:
    for name, data in (("a.png", b"a"), ("b.png", b"b"), ("bad.png", b"bad")):
        folders.source.write(name, data)
    assert folders.work().tried == 3
    first = folders.rows()

    again = folders.work()
    assert (again.tried, len(again.failed)) == (0, 1)
    assert folders.rows() == first

    folders.source.write("c.png", b"c")
    folders.output.delete("b.png")
    assert folders.work().tried == 2
    assert len(folders.work().failed) == 1

    folders.source.write("bad.png", b"good")
    assert folders.work().tried == 0
    retried = folders.work(retry_failed=True)
    assert (retried.tried, len(retried.failed)) == (1, 0)
    assert {row["status"] for row in folders.rows().values()} == {"done"}


def test_what_a_killed_run_wrote_is_not_done_again(folders: Folders) -> None:
    for name in ("a.png", "b.png"):
        folders.source.write(name, b"xy")
    folders.output.write("a.png", b"of an earlier run")
    assert folders.work().tried == 1
    assert folders.output.read("a.png") == b"of an earlier run"
    assert folders.rows()["a.png"]["status"] == "done"


def test_equal_output_names_are_refused_with_both_named() -> None:
    found = Survey(dict.fromkeys(["a.jpg", "a.png", "b.png"], 1), {})
    assert [item.output for item in plan_outputs(found).items] == ["a.jpg", "a.png", "b.png"]
    plan = plan_outputs(found, "png")
    assert plan.items == (Item("b.png", "b.png"),)
    assert [outcome.id for outcome in plan.refused] == ["a.jpg", "a.png"]
    for outcome in plan.refused:
        assert outcome.code == "output_ambiguous"
        assert "a.jpg and a.png would all become a.png" in outcome.reason


def test_a_report_that_is_something_else_is_named(folders: Folders) -> None:
    folders.source.write("a.png", b"a")
    folders.output.write("report.jsonl", b"not json\n")
    with pytest.raises(StorageError, match=r"report\.jsonl is not a report"):
        folders.work()


def test_progress_is_told(folders: Folders) -> None:
    for name in ("a.png", "b.png"):
        folders.source.write(name, b"xy")
    reported: list[tuple[Outcome, int, int]] = []
    folders.work(report=lambda *news: reported.append(news))
    assert [(outcome.id, done, total) for outcome, done, total in reported] == [
        ("a.png", 1, 2),
        ("b.png", 2, 2),
    ]
