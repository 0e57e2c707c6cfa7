"""What kintsugi compare asks for: from names and files to a sheet, from answers to a tally."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kintsugi.data.evaluation_photos import list_photos
from kintsugi.data.sample_photos import open_photos
from kintsugi.errors import ConfigError
from kintsugi.evaluation.blind.sheet import (
    ANSWERS,
    Layout,
    about_sheet,
    check_unanswered,
    write_sheet,
)
from kintsugi.evaluation.blind.tally import format_tally, read_answers, read_key, tally
from kintsugi.evaluation.comparison import check_stems, open_comparison
from kintsugi.evaluation.entrants import Results
from kintsugi.evaluation.request import EvaluationRequest
from kintsugi.storage.storage import Storage


class Printed(NamedTuple):
    """Text to print, figures to keep, and whether nothing is missing."""

    text: str
    figures: dict[str, Any]
    whole: bool


def sheet(
    *,
    photos: str,
    release: str | None,
    masks: str,
    methods: str,
    limit: int | None,
    held_out: float | None,
    seed: int,
    context: int,
    per_page: int,
    show_hole: bool,
    cache: str | None,
    output: str,
    key: Path,
) -> Printed:
    """Write a sheet's pages, and its key elsewhere; the flags of the command line.

    Raises: ConfigError: a name is not known, the key would be among the pages or replace another
        sheet's, or a judge has answered what is there.
    """
    target = Storage(output)
    # A link's own folder and that of what it leads to.
    if any(Storage(place).lies_in(target) for place in (key.expanduser().parent, key)):
        raise ConfigError(f"--key {key} is in the folder of the pages: the judge must not see it")
    check_unanswered(target)
    if key.exists() and not target.exists(ANSWERS):
        raise ConfigError(
            f"--key {key} is there already, and {target.uri} holds no sheet that it could be of:"
            " without it the answers to its own cannot be counted; choose another name"
        )
    request = EvaluationRequest(
        methods.split(","), masks.split(","), release=release, seed=seed, cache=cache
    )
    comparison, _ = open_comparison(request)
    layout = Layout(context, per_page, show_hole)
    with open_photos(photos) as uri:
        names = list_photos(uri, limit, held_out=held_out)
        if any(isinstance(entrant, Results) for entrant in comparison.entrants.values()):
            check_stems(names)
        # Pages that are made again are not those of the key that was there.
        key.unlink(missing_ok=True)
        key.parent.mkdir(parents=True, exist_ok=True)
        made = write_sheet(comparison, uri, names, target, layout, seed=seed)
    key.write_text(made.to_json())
    figures = about_sheet(made)
    lines = [f"left out: {name}: {why}" for name, why in made.left_out.items()]
    lines.append(
        f"{_counted(figures['pairs'], 'pair')} on {_counted(figures['pages'], 'page')} in"
        f" {target.uri}: fill in"
        f" {ANSWERS} there; the key is {key.absolute()}"
    )
    return Printed("\n".join(lines), figures, not made.left_out)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def count(*, key: Path, answers: Path) -> Printed:
    """Count a filled-in form. Raises: ConfigError: a file cannot be read or used."""
    texts = []
    for path in (key, answers):
        try:
            texts.append(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
    hidden = read_key(texts[0])
    found = tally(hidden, read_answers(texts[1], hidden))
    return Printed(format_tally(found), found, not found["unanswered"])


# By the subcommand of kintsugi compare.
RUN: dict[str, Callable[..., Printed]] = {"sheet": sheet, "tally": count}
