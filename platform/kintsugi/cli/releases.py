"""`kintsugi releases`: list, compare and promote what is published; kintsugi.release does it."""

from dataclasses import asdict
from typing import Annotated

import typer

from kintsugi.defaults import HOME
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED, write_results

PLACE = f"{HOME}/releases"
_DIGEST_DIGITS = len("sha256:") + 12
_MIB = 2**20


@options.command("kintsugi releases list", "kintsugi releases list s3://releases")
def list_(
    place: Annotated[str, typer.Argument(help="folder or bucket of releases")] = PLACE,
    json: options.Json = None,
) -> int:
    """Name, digest, size and training of every release below a place."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.release.catalog import list_releases

    found = list_releases(place)
    for each in found:
        if each.config is None:
            print(f"{each.uri}: {each.problem}")
            continue
        config = each.config
        steps = ", ".join(
            f"{stage} {about['steps']} steps"
            for stage, about in config.training.items()
            if isinstance(about, dict) and "steps" in about
        )
        print(
            f"{each.uri}: {config.name} {config.digest[:_DIGEST_DIGITS]}, {config.model.size},"
            f" {each.weights_bytes / _MIB:.1f} MiB{', ' if steps else ''}{steps}"
        )
    if not found:
        print(f"no release below {place}: kintsugi publish writes one")
    write_results(json, {"releases": [asdict(each) for each in found]})
    return SOME_REJECTED if any(each.problem for each in found) else DONE


@options.command("kintsugi releases compare s3://releases/street s3://releases/street-2")
def compare(
    one: Annotated[str, typer.Argument(help="a release: a path or URI")],
    other: Annotated[str, typer.Argument(help="another")],
    json: options.Json = None,
) -> int:
    """What two releases say differently of themselves, measurements included."""
    from kintsugi.release.catalog import differences, read_config

    found = differences(read_config(one), read_config(other))
    for name, (here, there) in found.items():
        print(f"{name}: {here} | {there}")
    if not found:
        print("they say the same, their digests included")
    write_results(json, {"differences": found})
    return DONE


@options.command("kintsugi releases promote s3://releases/street-2 s3://releases/production")
def promote(
    release: Annotated[str, typer.Argument(help="a release: a path or URI")],
    to: Annotated[str, typer.Argument(help="the place that is served; what is there is replaced")],
    json: options.Json = None,
) -> int:
    """Copy a release to the place that is served, whole or not at all."""
    from kintsugi.release.catalog import promote as copy

    config = copy(release, to)
    print(f"{to} is {config.name} {config.digest[:_DIGEST_DIGITS]} now")
    write_results(json, {"uri": to, "config": asdict(config)})
    return DONE


COMMANDS = {"list": list_, "compare": compare, "promote": promote}
