"""One photograph before it is packed: its id, and where its bytes lie; knows no kind of source."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast, get_args

from kintsugi.data.shards.part_lists import Reject
from kintsugi.errors import ConfigError

# What photographs may come from; "auto" is what is found.
Kind = Literal["auto", "photos", "tar", "parquet", "lmdb"]


class Item(NamedTuple):
    """A photograph.

    Attributes:
        id: Its name in the data set: the path of a file, of a member of a tar, or what a table
            or a database calls it.
        size: Its bytes.
        place: "" for a file by itself, whose name is the id; else the kind of file that it lies
            in and that file's name: `tar:train-00.tar`.
        start: The first of its bytes there.
        other_id: Its name where another photograph has the same id, and no user chose the id;
            "" = none.
    """

    id: str
    size: int
    place: str = ""
    start: int = 0
    other_id: str = ""


@dataclass(frozen=True)
class Page:
    """Part of a listing.

    Attributes:
        items: Photographs.
        rejects: What is meant to be one and cannot be read as one.
        ignored: Files that are none and are not meant to be.
    """

    items: list[Item] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    ignored: int = 0


@dataclass(frozen=True)
class Intake:
    """How photographs are found.

    Attributes:
        kind: What they are in.
        image_column: The column of Parquet files that holds them; "" = found by name and type.
        id_column: The column of Parquet files that names them; "" = the path that is stored with
            each, or a column of a usual name; file and row where there is none, or it repeats.
    """

    kind: Kind = "auto"
    image_column: str = ""
    id_column: str = ""


def hashed(text: str) -> bytes:
    """A text to be hashed; a path of this machine may be no UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def readable(path: str) -> str:
    """A path as text that can be written: what of it is no UTF-8 is spelled out."""
    return path.encode("utf-8", "backslashreplace").decode()


def read_intake(kind: str, image_column: str, id_column: str) -> Intake:
    """What a command line says. Raises: ConfigError: there is no such kind."""
    if kind not in get_args(Kind):
        raise ConfigError(f"--kind {kind} is not known: give one of {', '.join(get_args(Kind))}")
    return Intake(cast(Kind, kind), image_column, id_column)
