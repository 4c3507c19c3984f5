"""`mlfn delete`."""

from __future__ import annotations

import sys

import click

from mlfn.command.advice import near_functions
from mlfn.command.connecting import connect
from mlfn.command.names import function_argument
from mlfn.command.options import PLATFORM, output_option, setting_options
from mlfn.command.output import Format, print_data, say
from mlfn.errors import InvalidInput, MlfnError

__all__ = ["delete"]


@click.command(short_help="Delete a function with its revisions and logs.")
@function_argument()
@click.option("-y", "--yes", is_flag=True, show_envvar=True, help="Do not ask.")
@setting_options(*PLATFORM)
@output_option(Format.TABLE, Format.JSON, Format.YAML, Format.NAME)
def delete(name: str, yes: bool, output: Format, **flags: object) -> None:
    """Delete the function NAME with its revisions and logs. Its model stays stored until `mlfn local prune`.

    \b
    Examples:
      mlfn delete iris
      mlfn delete iris --yes
    """
    _, platform = connect(flags)
    with near_functions(platform, name):
        if not yes:
            _ask(platform.status(name).name)
        platform.remove(name)
    if output.is_data:
        print_data({"schema": "mlfn.deleted/v1", "name": name, "platform": platform.name}, output)
    elif output is Format.NAME:
        print(name)
    else:
        say(f"deleted {name}")


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"deleting {name} needs a yes, and nobody is there to ask", hints=(f"mlfn delete {name} --yes",)
        )
    # Not click.confirm: some of its versions write a part of the question to stdout.
    print(f"delete {name} with all its revisions? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise MlfnError(f"{name} was not deleted")
