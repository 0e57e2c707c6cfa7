"""JSON of unknown origin to objects and files in base64; knows no option and opens no image."""

import binascii
import json
from collections import Counter
from typing import Any, NoReturn

from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.http.request_kinds import FormKind
from kintsugi.deploy.options import Options, unknown_field
from kintsugi.errors import InvalidInput

# No request has a hundredth of them.
_MOST_VALUES = 10_000


def read_json(data: bytes, kind: FormKind[Options]) -> tuple[dict[str, bytes], dict[str, object]]:
    """Read a body to its files, decoded from base64, and its other fields, by name.

    Raises:
        Problem: 400 `json_malformed`.
        InvalidInput: A field is repeated or unknown, or a file is no base64.
    """
    fields = parse_object(data)
    for name in fields:
        if name not in kind.fields:
            raise unknown_field(name, kind.fields)
    files = {name: decode_base64(fields.pop(name), name) for name in kind.files if name in fields}
    return files, fields


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object (RFC 8259, UTF-8); no name may stand twice in one object.

    Raises:
        Problem: 400 `json_malformed`.
        InvalidInput: `field_repeated`.
    """
    # Each value takes up to a hundred bytes of memory and some of the time in which nobody else is
    # answered; base64 has none of these marks.
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES:
        raise _malformed(f"the body has more than {_MOST_VALUES} values")
    try:
        parsed = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    # Too deep, no UTF-8, or no JSON.
    except (RecursionError, ValueError) as error:
        raise _malformed("the body is not JSON in UTF-8") from error
    if not isinstance(parsed, dict):
        raise _malformed("the body is JSON, but not an object")
    return parsed


def decode_base64(value: object, name: str) -> bytes:
    """The bytes of a file. Raises: InvalidInput `{name}_not_base64`."""
    try:
        if isinstance(value, str):
            return binascii.a2b_base64(value, strict_mode=True)
    # The first is binascii's, the second for what is not ASCII.
    except ValueError as error:
        raise _not_base64(name) from error
    raise _not_base64(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, if no name stands twice: the last would win unseen."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        name = next(name for name, count in counts.items() if count > 1)
        raise InvalidInput(
            f"{name[:40]!a} stands more than once in one object of the body",
            code="field_repeated",
            hint="send it once",
        )
    return found


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity are Python's, not JSON."""
    raise ValueError(name)


def _malformed(detail: str) -> Problem:
    return Problem(
        400,
        "json_malformed",
        detail=detail,
        hint="send one object whose fields are the options, and the files in base64",
    )


def _not_base64(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} is not a string in base64",
        code=f"{name}_not_base64",
        hint="encode the file's bytes with the standard alphabet (+ and /), padded, without line"
        " breaks or a data: prefix; or send it as multipart/form-data",
    )
