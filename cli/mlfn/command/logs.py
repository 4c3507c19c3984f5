"""`mlfn logs`."""

from __future__ import annotations

import click

from mlfn.command.advice import near_functions
from mlfn.command.connecting import connect
from mlfn.command.names import function_argument
from mlfn.command.options import PLATFORM, setting_options

__all__ = ["logs"]


@click.command(short_help="Print what the instances of a function wrote.")
@function_argument()
@click.option("-f", "--follow", is_flag=True, show_envvar=True, help="Go on with new lines until Ctrl-C.")
@click.option(
    "--tail",
    type=click.IntRange(min=-1),
    default=-1,
    show_envvar=True,
    help="Only the last N lines, -1 for all.  [default: -1]",
)
@click.option("--prefix", is_flag=True, show_envvar=True, help="Put the instance's name before each line.")
@setting_options(*PLATFORM)
def logs(name: str, follow: bool, tail: int, prefix: bool, **flags: object) -> None:
    """Print what the instances of the function NAME wrote, those that are gone included.

    \b
    Examples:
      mlfn logs iris --tail 20
      mlfn logs iris -f | jq .
    """
    _, platform = connect(flags)
    with near_functions(platform, name):
        for line in platform.logs(name, follow=follow, tail=tail):
            print(f"{line.instance} {line.text}" if prefix else line.text, flush=follow)
