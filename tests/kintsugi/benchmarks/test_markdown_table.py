"""kintsugi.benchmarks.markdown_table."""

import pytest

from kintsugi.benchmarks.markdown_table import markdown_table


@pytest.mark.parametrize(
    ("words", "rule"), [(0, "| ---: | ---: |"), (1, "| --- | ---: |"), (2, "| --- | --- |")]
)
def test_words_stand_left_and_numbers_right(words: int, rule: str) -> None:
    table = markdown_table(("what", "s"), [("fill", "1.5"), ("plan", "0.1")], words=words)
    assert table == f"| what | s |\n{rule}\n| fill | 1.5 |\n| plan | 0.1 |"
