"""A command that is declared once, as a typed function: as a job by its file, or by `kintsugi`.

Typer reads the command line; the function that it chose is called outside of it, so that errors
and interrupts end a command as `_bootstrap.run` says. Knows no command.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from kintsugi.defaults import SAMPLES, SETS

CONFIGS = Path(__file__).resolve().parent / "configs"

# Options that several commands have.
Config = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="configuration in TOML: a path, or the name of one that comes along"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="a.b=c", help="replace one value of the configuration; may be repeated"
    ),
]
Json = Annotated[Path | None, typer.Option(metavar="FILE", help="write the figures to this file")]
Release = Annotated[
    str, typer.Option(metavar="URI", help="the release to use", show_default="the bundled one")
]
ServiceUrl = Annotated[
    str | None,
    typer.Option(
        "--url", help="of a running service (key: KINTSUGI_API_KEY); else one is started here"
    ),
]
ServicePid = Annotated[
    int | None,
    typer.Option(
        "--pid", metavar="N", help="its first process, whose memory and time count, with --url"
    ),
]
SamplePhoto = Annotated[
    str | None, typer.Option("--photo", metavar="URI", show_default="samples/china.jpg")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="of a folder: try again what failed")
]
WithoutRay = Annotated[bool, typer.Option("--without-ray", help="one worker, in this process")]
Limit = Annotated[int | None, typer.Option(metavar="N", help="only the first N photographs")]
HeldOut = Annotated[float | None, typer.Option(metavar="SHARE", help="only what training kept out")]
EvaluatedPhotos = Annotated[str, typer.Option(metavar="URI", help=f"or `{SAMPLES}`")]
EvaluatedRelease = Annotated[
    str | None, typer.Option(metavar="URI", help="what `ours` is", show_default="the bundled one")
]
MaskSets = Annotated[str, typer.Option(metavar="SET,...", help=SETS)]
MaskSeed = Annotated[int, typer.Option(help="decides every mask")]
MetricsPort = Annotated[int, typer.Option(metavar="N", help="serve Prometheus metrics; 0: no")]
MetricsHost = Annotated[str, typer.Option(metavar="HOST", help="at")]


@dataclass(frozen=True)
class Command:
    """What a job does, its options and its examples.

    Attributes:
        function: Its docstring is the help; each parameter is an option or an argument; it gives
            the exit code.
        examples: Command lines, shown at the end of the help.
    """

    function: Callable[..., int]
    examples: Sequence[str]

    def __call__(self, argv: Sequence[str]) -> int:
        """Run it with these arguments, as its job does. Raises: SystemExit for help and usage."""
        line = CommandLine()
        line.add(self)
        return line.run(argv)


def command(*examples: str) -> Callable[[Callable[..., int]], Command]:
    """Make a function a command with these examples."""
    return lambda function: Command(function, examples)


@dataclass
class CommandLine:
    """A program of one command, or of several with names.

    Attributes:
        app: Typer's.
    """

    app: typer.Typer = field(default_factory=lambda: new_app())
    _chosen: list[Callable[[], int]] = field(default_factory=list)

    def add(
        self, command: Command, name: str | None = None, app: typer.Typer | None = None
    ) -> None:
        """Add a command under a name, to a group of this program or to itself."""

        @wraps(command.function)
        def choose(**values: Any) -> None:
            self._chosen.append(partial(command.function, **values))

        epilog = "\b\nexamples:\n" + "\n".join(f"  {each}" for each in command.examples)
        (app or self.app).command(name, epilog=epilog)(choose)

    def run(self, argv: Sequence[str], program: str | None = None) -> int:
        """Read the arguments, and run what they choose. Raises: SystemExit for help and usage."""
        parser = typer.main.get_command(self.app)
        try:
            parser.main(list(argv), prog_name=program or Path(sys.argv[0]).name)
        except SystemExit:
            if not self._chosen:
                raise
        return self._chosen[-1]()


def new_app(text: str | None = None, **settings: Any) -> typer.Typer:
    """A program or a group of commands without commands."""
    return typer.Typer(
        help=text,
        # Plain text: it is read in logs and in documents too.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        **{"add_completion": False, "no_args_is_help": True, **settings},
    )


def find_config(name: str) -> Path:
    """The file of this path; else the one of this name that comes along, with or without .toml."""
    path = Path(name).expanduser()
    shipped = CONFIGS / f"{name.removesuffix('.toml')}.toml"
    return shipped if not path.is_file() and shipped.is_file() else path


def names(text: str) -> list[str]:
    """The two of "a,b"."""
    return text.split(",")


class Numbers(list[int]):
    """The two of "1,2", as the value of an option. Raises: ValueError."""

    def __init__(self, text: str) -> None:
        try:
            super().__init__(int(word) for word in text.split(","))
        except ValueError:
            raise ValueError(f"{text!r}: whole numbers with commas, such as 256,512") from None


class Shares(list[float]):
    """The two of "0.1,0.2", as the value of an option. Raises: ValueError."""

    def __init__(self, text: str) -> None:
        try:
            super().__init__(float(word) for word in text.split(","))
        except ValueError:
            raise ValueError(f"{text!r}: numbers with commas, such as 0.05,0.25") from None


def on_ray() -> bool:
    """Whether this process was submitted to a cluster, or RAY_ADDRESS names one."""
    return "RAY_ADDRESS" in os.environ


def given(**values: Any) -> dict[str, Any]:
    """Those of the values that are not None: what is called has defaults for the others."""
    return {name: value for name, value in values.items() if value is not None}
