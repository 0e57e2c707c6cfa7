"""Pages on which two methods' fills stand side by side and nothing says whose is whose.

What was A and what was B is in the key, which the judge must not see. Knows no answers.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from kintsugi.data.evaluation_photos import square_crop
from kintsugi.errors import ConfigError, InputError
from kintsugi.evaluation.entrants import Case
from kintsugi.evaluation.evaluate import Comparison, fill_case
from kintsugi.evaluation.metrics import compose
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.codec import ImageLimits, decode_image, encode_image
from kintsugi.inference.folder import read_input
from kintsugi.storage.storage import Storage

# Pixels around the hole that are shown with it.
CONTEXT_PX = 48
PAIRS_PER_PAGE = 4
# A filled-in one is what `kintsugi.evaluation.blind.tally` reads.
ANSWERS = "answers.csv"
ANSWERS_HEADING = "number,answer,reason"

_PAGE = re.compile(r"page-\d{3,}\.png")
_UNANSWERED = re.compile(r"""[\s"]*\d*[\s",;]*""")
_VERSION = 1
_GAP_PX, _TITLE_PX = 12, 28
_OUTLINE = (255, 0, 255)


@dataclass(frozen=True)
class SheetPair:
    """One line of a sheet.

    Attributes:
        number: From 1 on, through all pages.
        photo: Id of the photograph.
        masks: Name of the mask set.
        a, b: Names of the methods shown left and right.
        page: Name of the page's file.
    """

    number: int
    photo: str
    masks: str
    a: str
    b: str
    page: str


@dataclass(frozen=True)
class Key:
    """What a sheet hides.

    Attributes:
        methods: Both names, in the order of the command line: the tally is of the first.
        seed: Decided what stands left, and the masks.
        photos: Where the photographs are.
        identities: method -> what decides its answers.
        pairs: In order.
        left_out: Photograph and mask set -> why there is no pair.
        version: The version of this form.
    """

    methods: tuple[str, str]
    seed: int
    photos: str
    identities: dict[str, str]
    pairs: tuple[SheetPair, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    version: int = _VERSION

    def to_json(self) -> str:
        """As `kintsugi.evaluation.blind.tally.read_key` reads it."""
        return json.dumps(asdict(self), indent=1) + "\n"


class Layout(NamedTuple):
    """How a sheet looks: pixels around the hole, pairs on a page, and a third picture or not."""

    context_px: int = CONTEXT_PX
    pairs_per_page: int = PAIRS_PER_PAGE
    with_input: bool = False


class _Fills(NamedTuple):
    """What one line shows, whole pictures."""

    photo: str
    masks: str
    left_first: bool
    fills: tuple[Pixels, Pixels]
    mask: Mask


def write_sheet(
    comparison: Comparison,
    photos: str,
    names: Sequence[str],
    output: Storage,
    layout: Layout,
    *,
    seed: int = 0,
) -> Key:
    """Fill every photograph by both methods and write pages and an empty form for answers.

    Args:
        comparison: Has the two methods, the mask sets and kept fills.
        photos: URI of the photographs.
        names: The names of the photographs there.
        output: Gets `page-001.png` ... and ANSWERS; nothing there says whose a fill is.
        layout: The layout of the pages.
        seed: Decides for every pair what stands left.

    Returns: the key; it is for the caller to keep, and not next to the pages.

    Raises: ConfigError: there are not two methods, or nothing to show, or a judge has answered
        what is in ``output`` already.
    """
    check_unanswered(output)
    if len(comparison.entrants) != 2:
        raise ConfigError(
            f"{len(comparison.entrants)} methods: a sheet compares two, such as --methods"
            " ours,patchmatch"
        )
    if layout.pairs_per_page < 1 or layout.context_px < 0:
        raise ConfigError("a page needs 1 pair or more, and a context of 0 px or more")
    comparison.to("cuda" if torch.cuda.is_available() else "cpu")
    first, second = comparison.entrants
    # Without its form a sheet is none: one that is cut short is no mixture of this and the last.
    output.delete(ANSWERS)
    left_out: dict[str, str] = {}
    pairs: list[SheetPair] = []
    page: list[Pixels] = []
    for shown in _fill_all(comparison, Storage(photos), names, seed, left_out):
        number = len(pairs) + 1
        name = f"page-{(number - 1) // layout.pairs_per_page + 1:03d}.png"
        a, b = (first, second) if shown.left_first else (second, first)
        pairs.append(SheetPair(number, shown.photo, shown.masks, a, b, name))
        page.append(draw_pair(number, shown.fills, shown.mask, layout))
        if len(page) == layout.pairs_per_page:
            output.write(name, encode_image(_stack(page)))
            page.clear()
    if not pairs:
        why = next(iter(left_out.values()), "no photographs")
        raise ConfigError(f"there is no pair to show; the first was left out as: {why}")
    if page:
        output.write(pairs[-1].page, encode_image(_stack(page)))
    pages = {pair.page for pair in pairs}
    for name in output.list():
        # Of an earlier and longer sheet: its pairs are not in the key.
        if _PAGE.fullmatch(name) and name not in pages:
            output.delete(name)
    form = "".join(f"{pair.number},,\n" for pair in pairs)
    output.write(ANSWERS, f"{ANSWERS_HEADING}\n{form}".encode())
    identities = {name: entrant.identity for name, entrant in comparison.entrants.items()}
    return Key((first, second), seed, photos, identities, tuple(pairs), left_out)


def check_unanswered(output: Storage) -> None:
    """Raises: ConfigError: a sheet is there, and somebody has filled in some of its form."""
    if not output.exists(ANSWERS):
        return
    lines = output.read(ANSWERS).decode("utf-8", "replace").splitlines()
    # Spreadsheets put other signs between empty cells.
    answers = [line for line in lines[1:] if not _UNANSWERED.fullmatch(line)]
    if answers:
        raise ConfigError(
            f"{output.uri}/{ANSWERS} holds {len(answers)} of a judge's answers: choose another"
            " --output, or move that folder away"
        )


def stands_left(seed: int, masks: str, photo: str) -> bool:
    """Whether the first method is A: a coin that seed, mask set and photograph decide."""
    digest = hashlib.sha256(f"{seed}/{masks}/{photo}/left".encode()).digest()
    return digest[0] % 2 == 0


def draw_pair(number: int, shown: tuple[Pixels, Pixels], mask: Mask, layout: Layout) -> Pixels:
    """One line at 100 %: its number, A, B and where asked for the hole's place.

    Args:
        number: The number of the pair.
        shown: Left and right, uint8 H W 3, whole pictures.
        mask: bool H W, True = hole.
        layout: How much is shown around the hole, and whether a third picture shows where it is.
    """
    rows, columns = _around(mask, layout.context_px)
    tiles = {f"{number} A": shown[0][rows, columns], f"{number} B": shown[1][rows, columns]}
    if layout.with_input:
        tiles[f"{number} hole"] = _input(shown[0], mask)[rows, columns]
    height, width = tiles[f"{number} A"].shape[:2]
    line = Image.new("RGB", ((width + _GAP_PX) * len(tiles) + _GAP_PX, height + _TITLE_PX), "white")
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(18)
    for index, (title, tile) in enumerate(tiles.items()):
        left = _GAP_PX + index * (width + _GAP_PX)
        draw.text((left, 3), title, fill="black", font=font)
        line.paste(Image.fromarray(np.ascontiguousarray(tile)), (left, _TITLE_PX))
    return np.asarray(line)


def _fill_all(
    comparison: Comparison,
    photos: Storage,
    names: Sequence[str],
    seed: int,
    left_out: dict[str, str],
) -> Iterator[_Fills]:
    for masks in comparison.mask_sets:
        for name in names:
            try:
                pixels = decode_image(read_input(photos, name, "image"), ImageLimits()).pixels
                mask = masks.mask_of(name)
                truth = square_crop(pixels, masks.side_px)
                case = Case(name, masks.name, np.where(mask[..., None], np.uint8(0), truth), mask)
                fills = [
                    compose(fill_case(each, case, comparison.cache).pixels, truth, mask)
                    for each in comparison.entrants.values()
                ]
            except InputError as error:
                left_out[f"{masks.name}/{name}"] = str(error)
                continue
            left_first = stands_left(seed, masks.name, name)
            left, right = fills if left_first else fills[::-1]
            yield _Fills(name, masks.name, left_first, (left, right), mask)


def _around(mask: Mask, context_px: int) -> tuple[slice, slice]:
    """Rows and columns of the hole with its context, inside the picture."""
    bounds = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.any(axis=axis))
        side = mask.shape[1 - axis]
        bounds.append(
            slice(max(0, int(used[0]) - context_px), min(side, int(used[-1]) + 1 + context_px))
        )
    return bounds[0], bounds[1]


def _input(picture: Pixels, mask: Mask) -> Pixels:
    """The known pixels, the hole grey with a line around it."""
    shown = picture.copy()
    shown[mask] = 128
    shown[_edge(mask)] = _OUTLINE
    return shown


def _edge(mask: Mask) -> Mask:
    """Hole pixels with a known neighbour."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: Mask = mask & ~inner
    return edge


def _stack(lines: Sequence[Pixels]) -> Pixels:
    width = max(line.shape[1] for line in lines)
    wide = [
        np.pad(line, ((0, _GAP_PX), (0, width - line.shape[1]), (0, 0)), constant_values=255)
        for line in lines
    ]
    return np.vstack(wide)


def about_sheet(key: Key) -> dict[str, Any]:
    """How many pairs each mask set has: what may be printed next to the pages."""
    sets = [pair.masks for pair in key.pairs]
    return {
        "pairs": len(key.pairs),
        "pages": len({pair.page for pair in key.pairs}),
        "sets": {name: sets.count(name) for name in dict.fromkeys(sets)},
        "left_out": key.left_out,
    }
