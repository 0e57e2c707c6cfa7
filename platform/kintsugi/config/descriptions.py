"""What each key of a configuration means, as the code says it: one text for every place.

A key is described by the string under its field. `--print-config`, the reference and error
messages show that text. Reads no configuration.
"""

import ast
import inspect
import textwrap
from dataclasses import is_dataclass
from functools import cache
from typing import get_type_hints


@cache
def describe_fields(kind: type) -> dict[str, str]:
    """A dataclass's fields: name -> the string under it, in one line; inherited fields too.

    A field without one is left out.
    """
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(node, ast.ClassDef)
        for field, below in zip(node.body, node.body[1:], strict=False):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return found


def describe_keys(kind: type) -> dict[str, str]:
    """A configuration's keys: `key` or `section.key` -> what it means."""
    found = dict(describe_fields(kind))
    for name, section in get_type_hints(kind).items():
        if isinstance(section, type) and is_dataclass(section):
            found |= {f"{name}.{key}": text for key, text in describe_fields(section).items()}
    return found
