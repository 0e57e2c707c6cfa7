"""A multipart form to files and texts; knows no option and opens no image."""

from collections import Counter

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
    # A form of thousands of fields is refused while it is parsed.
    max_texts = 2 * len(kind.fields)
    try:
        form = await request.form(
            max_files=len(kind.files), max_fields=max_texts, max_part_size=_MAX_TEXT_BYTES
        )
    except HTTPException as error:
        raise Problem(
            400,
            "multipart_malformed",
            detail="the body is not the multipart form that its header announces",
            hint=f"at most {len(kind.files)} files and {max_texts} short fields, each with a name",
        ) from error
    try:
        _check_names(form, kind)
        files = {name: await _read_file(form, name) for name in kind.files if name in form}
        return files, _texts(form, kind)
    finally:
        await form.close()


def _check_names(form: FormData, kind: FormKind[Options]) -> None:
    for name, count in Counter(name for name, _ in form.multi_items()).items():
        if name not in kind.fields:
            raise unknown_field(name, kind.fields)
        if count > 1:
            raise InvalidInput(
                f"{name} was sent {count} times", code=f"{name}_repeated", hint="send it once"
            )


async def _read_file(form: FormData, name: str) -> bytes:
    value = form[name]
    if isinstance(value, str):
        raise InvalidInput(
            f"{name} was sent as text",
            code=f"{name}_not_file",
            hint="send it as a file, with a filename",
        )
    return await value.read()


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
