"""A multipart form to files and texts; knows no option and opens no image."""

from collections import Counter
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.http.request_kinds import FormKind
from kintsugi.deploy.options import Options, unknown_field
from kintsugi.errors import InvalidInput

_MAX_TEXT_BYTES = 64 * 1024


async def read_multipart(
    request: Request, kind: FormKind[Options]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Read a form to its files and its texts, by name.

    Raises:
        Problem: 400 `multipart_malformed`.
        InvalidInput: A field is repeated, unknown, or not of its sort.
    """
    files, texts = await read_many(request, kind, most=1)
    return {name: found[0].data for name, found in files.items()}, texts


@dataclass(frozen=True)
class SentFile:
    """A file as it came, and how its sender calls it."""

    name: str
    data: bytes


async def read_many(
    request: Request, kind: FormKind[Options], *, most: int
) -> tuple[dict[str, list[SentFile]], dict[str, str]]:
    """The same of a form in which each file may be sent several times, in its order.

    Args:
        request: Whose body is read.
        kind: The form.
        most: Files of one name.

    Raises: as `read_multipart`.
    """
    # A form of thousands of fields is refused while it is parsed.
    max_texts, max_files = 2 * len(kind.fields), most * len(kind.files)
    try:
        form = await request.form(
            max_files=max_files, max_fields=max_texts, max_part_size=_MAX_TEXT_BYTES
        )
    except HTTPException as error:
        raise Problem(
            400,
            "multipart_malformed",
            detail="the body is not the multipart form that its header announces",
            hint=f"at most {max_files} files and {max_texts} short fields, each with a name",
        ) from error
    try:
        _check_names(form, kind, most)
        files = {name: await _read_files(form, name) for name in kind.files if name in form}
        return files, _texts(form, kind)
    finally:
        await form.close()


def _check_names(form: FormData, kind: FormKind[Options], most: int) -> None:
    for name, count in Counter(name for name, _ in form.multi_items()).items():
        if name not in kind.fields:
            raise unknown_field(name, kind.fields)
        allowed = most if name in kind.files else 1
        if count > allowed:
            raise InvalidInput(
                f"{name} was sent {count} times",
                code=f"{name}_repeated",
                hint="send it once" if allowed == 1 else f"send at most {allowed} at one time",
            )


async def _read_files(form: FormData, name: str) -> list[SentFile]:
    found = []
    for value in form.getlist(name):
        if isinstance(value, str):
            raise InvalidInput(
                f"{name} was sent as text",
                code=f"{name}_not_file",
                hint="send it as a file, with a filename",
            )
        found.append(SentFile(value.filename or "", await value.read()))
    return found


def _texts(form: FormData, kind: FormKind[Options]) -> dict[str, str]:
    texts = {}
    for name, value in form.multi_items():
        if name in kind.files:
            continue
        if isinstance(value, UploadFile):
            raise InvalidInput(
                f"{name} was sent as a file", code=f"{name}_not_text", hint="send it as text"
            )
        texts[name] = value
    return texts
