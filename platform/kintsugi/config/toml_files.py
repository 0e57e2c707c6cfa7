"""TOML files in layers, one based on another; and a configuration written as TOML.

A file says only what differs from the file that its key `base` names. Knows no key's meaning.
"""

import json
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kintsugi.errors import ConfigError

BASE = "base"
_LINE = 99


def read_layers(path: Path) -> dict[str, Any]:
    """A file over its base, over that one's base, and so on: tables key by key.

    Raises:
        ConfigError: A file is no TOML, or a base is missing, no path or based on its user.
        FileNotFoundError: ``path`` itself is missing.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in above:
        raise ConfigError(f"{above[-1]}: {BASE} {path} is based on it: name another")
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except FileNotFoundError as error:
        if not above:
            raise
        raise ConfigError(f"{above[-1]}: {BASE} {path}: no such file") from error
    base = own.pop(BASE, None)
    if base is None:
        return own
    if not isinstance(base, str):
        raise ConfigError(f"{path}: {BASE}={base!r}: the path of a file, from this one's folder")
    return _merged(_read(path.parent / base, (*above, path)), own)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[key] = _merged(under, value)
        else:
            merged[key] = value
    return merged


def to_toml(nested: Mapping[str, Any], meanings: Mapping[str, str] | None = None) -> str:
    """A configuration as TOML: keys of its own first, then one table for each section.

    Args:
        nested: Keys and sections, as plain JSON types.
        meanings: What a `key` or a `section.key` means, by its name; written above it.
    """
    meanings = meanings or {}
    tables = {name: value for name, value in nested.items() if isinstance(value, Mapping)}
    lines = []
    for name, value in nested.items():
        if name not in tables:
            lines += [*_comment(meanings.get(name)), f"{name} = {_value(value)}"]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        for key, value in table.items():
            lines += [*_comment(meanings.get(f"{name}.{key}")), f"{key} = {_value(value)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str | None) -> list[str]:
    return textwrap.wrap(text, _LINE, initial_indent="# ", subsequent_indent="# ") if text else []


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {_value(each)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    # JSON's strings, numbers, lists and truth values are TOML's as well.
    return json.dumps(value)
