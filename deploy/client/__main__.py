"""The client as a command: files in, one file out. Its options are those of `deploy/options.py`."""

import argparse
import http.client
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kintsugi.deploy.client import Answer, Client, ClientError, Job
from kintsugi.deploy.options import AnswerOptions, InpaintOptions, StylizeOptions

# By command: what it does, its two files, and its options.
_COMMANDS: dict[str, tuple[str, tuple[str, str], type[AnswerOptions]]] = {
    "inpaint": ("Fill the hole of one photograph.", ("image", "mask"), InpaintOptions),
    "stylize": ("Give one picture the look of another.", ("content", "style"), StylizeOptions),
}
_KEY_VARIABLE = "KINTSUGI_API_KEY"
_FILES = {
    "image": "photograph with a hole",
    "mask": "of the image's size; white is hole",
    "content": "picture whose arrangement is kept",
    "style": "picture whose look is copied, of any size",
}


# What a file's name says of its format, where --format says nothing.
_FORMATS = {
    ".avif": "avif",
    ".bmp": "bmp",
    ".gif": "gif",
    ".heic": "heif",
    ".heif": "heif",
    ".jp2": "jp2",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
}


def main(argv: Sequence[str]) -> int:
    """Run one command; 0 done, 1 refused or not reached, 2 wrong usage."""
    args = _parser().parse_args(argv)
    _, names, kind = _COMMANDS[args.command]
    given = ((name, getattr(args, name)) for name in kind.model_fields)
    options = {name: value for name, value in given if value is not None}
    if args.output.suffix.lower() in _FORMATS:
        options.setdefault("format", _FORMATS[args.output.suffix.lower()])
    try:
        # Here: what goes wrong with a file is not the connection's fault, nor worth a fill.
        if not args.output.parent.is_dir():
            raise NotADirectoryError(f"{args.output.parent} is no folder to write to")
        files = [getattr(args, name).read_bytes() for name in names]
        answer = _ask(args, files, options)
        args.output.write_bytes(answer.data)
    except (ClientError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.output}: {answer.content_type}, made by {answer.model_version}")
    if answer.notes:
        print(answer.notes)
    return 0


def _ask(args: argparse.Namespace, files: list[bytes], options: dict[str, Any]) -> Answer:
    """Raises: ConnectionError naming the service when it is not reached."""
    # No flag: other users of a machine see a command's arguments.
    client = Client(args.url, api_key=os.environ.get(_KEY_VARIABLE, ""))
    try:
        # The service checks the options, and names a wrong one and its values.
        if args.job:
            return _wait(client, getattr(client.jobs, args.command)(*files, **options))
        if args.command == "inpaint":
            return client.inpaint(*files, **options)
        return client.stylize(*files, **options)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        raise ConnectionError(f"{why}: is the service up at {args.url}?") from error


def _wait(client: Client, job: Job) -> Answer:
    """Follow a job on the terminal; Ctrl-C gives it up."""
    print(f"job {job.id}", file=sys.stderr)
    try:
        return client.jobs.wait(job.id, on_progress=_show)
    except KeyboardInterrupt:
        client.jobs.cancel(job.id)
        print("given up", file=sys.stderr)
        raise


def _show(job: Job) -> None:
    print(f"{job.state}, {job.progress:.0%}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kintsugi.deploy.client",
        description=f"Call the service. An API key is taken from {_KEY_VARIABLE}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    helps = []
    for command, (description, names, kind) in _COMMANDS.items():
        each = commands.add_parser(command, help=description, description=description)
        for name in names:
            each.add_argument(name, type=Path, help=_FILES[name])
        each.add_argument(
            "output", type=Path, help="where the answer is written, in the format of its ending"
        )
        each.add_argument("--url", default="http://127.0.0.1:8000", help="the service")
        each.add_argument(
            "--job", action="store_true", help="for work of minutes: sent now, waited for here"
        )
        for name, option in kind.model_fields.items():
            flag = f"--{name.replace('_', '-')}"
            each.add_argument(flag, dest=name, metavar="VALUE", help=option.description)
        helps.append(each.format_help())
    parser.epilog = "\n".join(helps)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
