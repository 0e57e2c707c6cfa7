"""Tables of figures in Markdown, for the reports; knows no measurement."""

from collections.abc import Sequence


def markdown_table(
    heading: Sequence[str], lines: Sequence[Sequence[str]], *, words: int = 1
) -> str:
    """A table without a line break at its end.

    Args:
        heading: A cell for each column.
        lines: Cells without `|`, as many as the heading has.
        words: So many of the first columns stand left, the others, with numbers, right.
    """
    rule = ["---" if index < words else "---:" for index in range(len(heading))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, rule, *lines))
