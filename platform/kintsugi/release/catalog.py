"""Releases in a place: which there are, how two differ, which is served; loads no weights."""

import tempfile
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
class Listed:
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


def list_releases(uri: str) -> list[Listed]:
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
            found.append(Listed(there.uri, read_config(there.uri), sizes[weights]))
        except StorageError as error:
            found.append(Listed(there.uri, None, sizes[weights], str(error)))
    return found


def read_config(uri: str) -> ReleaseConfig:
    """What a release says of itself. Raises: StorageError: there is none, or of another version."""
    place = Storage(uri)
    if not place.exists(CONFIG_NAME):
        raise StorageError(f"no release at {place.uri}: it has no {CONFIG_NAME}")
    try:
        return parse_release_config(place.read(CONFIG_NAME), f"{place.uri}/{CONFIG_NAME}")
    except ValueError as error:
        raise StorageError(str(error)) from error


def differences(one: ReleaseConfig, other: ReleaseConfig) -> dict[str, tuple[Any, Any]]:
    """What two releases say differently, by dotted name: (of one, of the other)."""
    flat = _flat(asdict(one)), _flat(asdict(other))
    names = [*flat[0], *(name for name in flat[1] if name not in flat[0])]
    return {
        name: (flat[0].get(name), flat[1].get(name))
        for name in names
        if flat[0].get(name) != flat[1].get(name)
    }


def promote(release: str, to: str) -> ReleaseConfig:
    """Copy a release to the place that is served, `config.json` last; its weights are compared.

    Raises:
        ConfigError: both are one place.
        StorageError: there is no whole release, or its weights are not those that it names.
    """
    source, target = Storage(release), Storage(to)
    if source.uri == target.uri:
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


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, list | tuple) and any(isinstance(one, dict) for one in values):
        values = {str(index): one for index, one in enumerate(values)}
    if not isinstance(values, dict):
        return {prefix: values}
    return {
        name: value
        for key, below in values.items()
        for name, value in _flat(below, f"{prefix}.{key}" if prefix else str(key)).items()
    }
