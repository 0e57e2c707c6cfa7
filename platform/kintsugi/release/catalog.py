"""Releases in a place: which there are, how two differ, which is served; loads no weights."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kintsugi.errors import ConfigError, StorageError
from kintsugi.models.weights import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    ReleaseConfig,
    file_digest,
    parse_release_config,
)
from kintsugi.storage.storage import Storage


@dataclass(frozen=True)
class CatalogEntry:
    """A release of a place.

    Attributes:
        uri: Its folder.
        config: What it says of itself; None when that cannot be read.
        weights_bytes: Size of its weights file.
        problem: Why it cannot be read; "" when it can.
    """

    uri: str
    config: ReleaseConfig | None
    weights_bytes: int
    problem: str = ""


# What says of a row of figures what it is of.
_NAMING = ("masks", "method")


def list_releases(uri: str) -> list[CatalogEntry]:
    """The whole releases below a place, at any depth, by their folders' names.

    Raises: StorageError: the place cannot be listed.
    """
    place = Storage(uri)
    sizes = place.sizes()
    found = []
    for name in sorted(sizes):
        folder, _, file = name.rpartition("/")
        weights = f"{folder}/{WEIGHTS_NAME}".lstrip("/")
        if file != CONFIG_NAME or weights not in sizes:
            continue
        there = place.join(folder) if folder else place
        try:
            found.append(CatalogEntry(there.uri, read_config(there.uri), sizes[weights]))
        except StorageError as error:
            found.append(CatalogEntry(there.uri, None, sizes[weights], str(error)))
    return found


def read_config(uri: str) -> ReleaseConfig:
    """What a release says of itself. Raises: StorageError: there is none, or of another version."""
    place = Storage(uri)
    if not place.exists(CONFIG_NAME):
        raise StorageError(
            f"no release at {place.uri} (no {CONFIG_NAME}): publish or promote one there"
        )
    try:
        return parse_release_config(place.read(CONFIG_NAME), f"{place.uri}/{CONFIG_NAME}")
    except ValueError as error:
        raise StorageError(str(error)) from error


def differences(one: ReleaseConfig, other: ReleaseConfig) -> dict[str, tuple[Any, Any]]:
    """What two releases say differently, by dotted name: (of one, of the other).

    How they were trained comes last, being long. Of a part that only one of them has it is said
    how many entries that is. Measurements are compared by mask set and method.
    """
    found = dict(_differ(asdict(one), asdict(other), ""))
    return dict(sorted(found.items(), key=lambda item: item[0].startswith("training")))


def promote(release: str, to: str) -> ReleaseConfig:
    """Copy a release to the place that is served, `config.json` last; its weights are compared.

    Raises:
        ConfigError: both are one place.
        StorageError: there is no whole release, or its weights are not those that it names.
    """
    source, target = Storage(release), Storage(to)
    if source.is_same_place(target):
        raise ConfigError(f"{source.uri} is where it is: name another place to promote it to")
    config = read_config(release)
    with tempfile.TemporaryDirectory(prefix="kintsugi-promote-") as folder:
        source.fetch_folder("", Path(folder))
        if file_digest(Path(folder) / WEIGHTS_NAME) != config.digest:
            raise StorageError(
                f"{source.uri}: {WEIGHTS_NAME} is not what {CONFIG_NAME} names: publish it again"
            )
        target.publish_folder(Path(folder), "", last=CONFIG_NAME)
    return config


def _differ(one: Any, other: Any, name: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    one, other = _by_names(one), _by_names(other)
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _differ(one.get(key), other.get(key), f"{name}.{key}" if name else str(key))
    elif one != other:
        yield name, (_counted(one), _counted(other))


def _by_names(values: Any) -> Any:
    """Figures by what they are of: their places in two lists mean nothing."""
    is_rows = isinstance(values, list | tuple) and all(isinstance(one, dict) for one in values)
    if not values or not is_rows:
        return values
    named = {_name_of(one): one for one in values}
    if not all(named) or len(named) < len(values):
        return dict(enumerate(values))
    return {
        name: {key: value for key, value in one.items() if key not in _NAMING}
        for name, one in named.items()
    }


def _name_of(figures: dict[str, Any]) -> str:
    return " ".join(str(figures[key]) for key in _NAMING if key in figures)


def _counted(value: Any) -> Any:
    return f"{_leaves(value)} entries" if isinstance(value, dict) and value else value


def _leaves(value: Any) -> int:
    return sum(map(_leaves, value.values())) if isinstance(value, dict) else 1
