"""`kintsugi demo`: the whole path on this machine; kintsugi.demo does the work."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, interrupt_once


@options.command("kintsugi demo", "kintsugi demo --folder /tmp/demo")
def main(
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="what it writes; emptied at the start")
    ] = Path("demo"),
) -> int:
    """Photographs to a filled hole over HTTP, every part real."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.demo.walkthrough import LOGS, NUM_STEPS, Demo
    from kintsugi.errors import ConfigError
    from kintsugi.servers.console import Console

    folder = folder.expanduser().absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / LOGS).is_dir():
        raise ConfigError(f"{folder} holds other files than a demo's: choose --folder")
    # Begin again: what an earlier demo stored would let this one skip its training.
    shutil.rmtree(folder, ignore_errors=True)
    (folder / LOGS).mkdir(parents=True)
    # Commands are shown as they would be typed, so they must be found.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # The demo's storage is its own: a profile, token or endpoint of the user's cloud account
    # would take its requests elsewhere, or have them refused.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    interrupt_once()
    Demo(folder, Console(NUM_STEPS, folder / LOGS)).run()
    return DONE
