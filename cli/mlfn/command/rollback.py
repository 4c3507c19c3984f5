"""`mlfn rollback`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mlfn.command.advice import near_functions
from mlfn.command.connecting import connect
from mlfn.command.names import function_argument
from mlfn.command.options import PLATFORM, output_option, setting_options
from mlfn.command.output import Format, outcome_stands, print_data, say, stages

if TYPE_CHECKING:
    from mlfn.delivery.rollback import RolledBack

__all__ = ["rollback"]


@click.command(short_help="Bring an earlier revision of a function back.")
@function_argument()
@click.option(
    "--to", default="", metavar="REVISION", show_envvar=True, help="Revision to bring back.  [default: the one before]"
)
@setting_options(*PLATFORM)
@output_option(Format.TABLE, Format.JSON, Format.YAML, Format.NAME)
def rollback(name: str, to: str, output: Format, **flags: object) -> None:
    """Give all requests of the function NAME to an earlier revision.

    That is the newest ready revision before the one with the most traffic, or the one that --to names. Called again
    without --to it goes one further back; with --to it then changes nothing. Tags stay, and the next deploy gets all
    requests again. The revision is started before requests go to it; when it does not start, nothing changes.

    \b
    Examples:
      mlfn rollback iris
      mlfn rollback iris --to iris-00001
    """
    from mlfn.delivery.rollback import roll_back

    _, platform = connect(flags)
    with stages() as stage, near_functions(platform, name):
        stage(f"bringing back {to or 'the revision before'}")
        done = roll_back(platform, name, to)
    with outcome_stands():
        _print(name, platform.name, done, output)


def _print(name: str, platform: str, done: RolledBack, output: Format) -> None:
    if output.is_data:
        document = {"name": name, "platform": platform, **asdict(done)}
        print_data({"schema": "mlfn.rollback/v1", **document}, output)
        return
    say(_summary(name, done))
    if output is Format.NAME:
        print(done.revision)


def _summary(name: str, done: RolledBack) -> str:
    if not done.changed:
        return f"unchanged: revision {done.revision} of {name} has all requests already"
    if done.previous in ("", done.revision):
        return f"all requests of {name} go to revision {done.revision} now"
    return f"rolled {name} back to revision {done.revision}, from {done.previous}"
