"""A folder of photographs: one bad file ends nothing, and a second run does what is missing."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kintsugi.errors import InvalidInput, StorageError
from kintsugi.inference.folder import FolderRun, Item, OutputFile, plan_outputs, work_folder
from kintsugi.inference.folder_report import PhotoOutcome, Summary
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

    def __call__(self, item: Item) -> OutputFile:
        data = self.source.read(item.id)
        if data == b"bad":
            raise InvalidInput("it is bad", code="image_bad")
        return OutputFile(data[::-1], ("a note",))


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


def test_what_a_killed_run_left_half_written_goes(folders: Folders) -> None:
    folders.source.write("a.png", b"xy")
    folders.work()
    output = Path(folders.output.uri)
    left = output / f".{'a' * 16}.1-1.partial"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    folders.work()
    assert not left.exists()


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


def test_progress_is_reported(folders: Folders) -> None:
    for name in ("a.png", "b.png"):
        folders.source.write(name, b"xy")
    reported: list[tuple[PhotoOutcome, int, int]] = []
    folders.work(report=lambda *news: reported.append(news))
    assert [(outcome.id, done, total) for outcome, done, total in reported] == [
        ("a.png", 1, 2),
        ("b.png", 2, 2),
    ]


@dataclass(frozen=True)
class Poisoned:
    """Work that goes wrong in each way that a photograph's name asks for."""

    def __call__(self, item: Item) -> OutputFile:
        match item.id:
            case "memory.png":
                raise MemoryError
            case "value.png":
                raise ValueError("one photograph the networks cannot do")
            case "unreachable.png":
                raise StorageError("the store is busy", may_pass=True)
            case "death.png":
                os._exit(9)
            case _:
                return OutputFile(b"done")


GOOD = [f"{letter}.png" for letter in "abcde"]


def statuses(output: Storage) -> dict[str, tuple[str, str]]:
    rows = map(json.loads, output.read("report.jsonl").decode().splitlines())
    return {row["id"]: (row["status"], row["code"]) for row in rows}


def poisoned(tmp_path: Path, *names: str, processes: int = 0) -> tuple[Summary, Storage]:
    output = Storage(tmp_path / "output")
    plan = plan_outputs(Survey(dict.fromkeys([*GOOD, *names], 1), {}))
    return work_folder(plan, Poisoned(), output, FolderRun(processes=processes)), output


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("memory.png", "out_of_memory"),
        ("value.png", "unexpected_error"),
        ("unreachable.png", "storage_unreachable"),
    ],
)
def test_whatever_is_raised_is_one_row(tmp_path: Path, name: str, code: str) -> None:
    summary, output = poisoned(tmp_path, name)
    assert statuses(output) == {**dict.fromkeys(GOOD, ("done", "")), name: ("failed", code)}
    assert summary.tried == 6
    assert summary.failed[0].reason


def test_a_process_that_dies_is_one_row(tmp_path: Path) -> None:
    summary, output = poisoned(tmp_path, "death.png", processes=2)
    assert [(row.id, row.code) for row in summary.failed] == [("death.png", "worker_died")]
    assert "exit code 9" in summary.failed[0].reason
    assert set(output.list()) == {*GOOD, "report.jsonl"}


@pytest.mark.ray
def test_a_ray_worker_that_dies_is_one_row(
    tmp_path: Path, local_ray: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    summary, output = poisoned(tmp_path, "death.png", "memory.png")
    assert [(row.id, row.code) for row in summary.failed] == [
        ("death.png", "worker_died"),
        ("memory.png", "out_of_memory"),
    ]
    assert set(output.list()) == {*GOOD, "report.jsonl"}


def test_a_place_that_is_gone_ends_the_run_with_its_report(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Gone:
        def __call__(self, item: Item) -> OutputFile:
            if item.id < "c":
                return OutputFile(b"done")
            raise StorageError("cannot read: the store is gone", may_pass=True)

    output = Storage(tmp_path / "output")
    plan = plan_outputs(Survey(dict.fromkeys([f"{letter}.png" for letter in "abcdefgh"], 1), {}))
    with pytest.raises(StorageError, match="given up after 3 photographs in a row"):
        work_folder(plan, Gone(), output)
    assert [status for status, _ in statuses(output).values()] == ["done"] * 2 + ["failed"] * 3


def test_everything_in_a_folder_is_named(tmp_path: Path) -> None:
    names = ["a.HEIC", "b.jfif", "c.bmp", "notes.txt", "._a.png", ".hidden/d.png", "../e.png"]
    found = Survey(dict.fromkeys([*names, "x//f.png", "x/f.png"], 1), {"locked": "denied"})
    plan = plan_outputs(found)
    assert [item.id for item in plan.items] == ["a.HEIC", "b.jfif", "c.bmp"]
    assert {row.id: (row.status, row.code) for row in plan.refused} == {
        "notes.txt": ("left_out", "not_a_photograph"),
        "../e.png": ("failed", "name_not_usable"),
        "x//f.png": ("failed", "output_ambiguous"),
        "x/f.png": ("failed", "output_ambiguous"),
        "locked": ("failed", "folder_unreadable"),
    }
    assert plan.hidden == ("._a.png", ".hidden/d.png")


def test_what_is_there_is_done_again_when_asked(folders: Folders) -> None:
    folders.source.write("a.png", b"ab")
    folders.work()
    folders.source.write("a.png", b"xy")
    assert folders.work().tried == 0
    assert folders.work(overwrite=True).tried == 1
    assert folders.output.read("a.png") == b"yx"
    assert folders.rows()["a.png"]["notes"] == ["a note"]
    assert folders.work().outcomes[0].notes == ("a note",)
