"""`mlfn traffic`: the split of a function's requests and its tags, shown or changed."""

from __future__ import annotations

import re
from dataclasses import asdict

import click

from mlfn.command.advice import near_functions
from mlfn.command.connecting import connect
from mlfn.command.names import function_argument
from mlfn.command.options import PLATFORM, output_option, setting_options
from mlfn.command.output import Format, outcome_stands, print_data, table
from mlfn.errors import InvalidInput
from mlfn.function import Traffic

__all__ = ["print_traffic", "traffic"]


@click.command(short_help="Show or change which revisions get a function's requests.")
@function_argument()
@click.argument("shares", nargs=-1, metavar="[REVISION=PERCENT]...")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="REVISION=TAG",
    show_envvar=True,
    help="Give a revision an address of its own, whatever its share. Can be repeated.",
)
@click.option(
    "--untag", "untags", multiple=True, metavar="TAG", show_envvar=True, help="Remove a tag. Can be repeated."
)
@setting_options(*PLATFORM)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def traffic(
    name: str, shares: tuple[str, ...], tags: tuple[str, ...], untags: tuple[str, ...], output: Format, **flags: object
) -> None:
    """Show which revisions get the requests of the function NAME, or change that.

    Shares sum to 100; a revision that is not named gets none. `@latest` stands for the newest ready revision, now: it
    does not follow later deploys. A tagged revision has an address of its own, also with 0 percent, which is how to try
    one before it gets requests. A revision is started before its first request comes, and one that does not start
    gets none.

    \b
    Examples:
      mlfn traffic iris
      mlfn traffic iris iris-00001=90 @latest=10
      mlfn traffic iris --tag iris-00002=candidate
      mlfn traffic iris --untag candidate
    """
    from mlfn.delivery.traffic import TrafficChange, change_traffic

    change = TrafficChange(_shares(name, shares), _tags(name, tags), untags)
    _, platform = connect(flags)
    with near_functions(platform, name):
        asked = shares or tags or untags
        split = change_traffic(platform, name, change) if asked else platform.status(name).traffic
    with outcome_stands():
        if output.is_data:
            document = {"name": name, "platform": platform.name, "traffic": [asdict(each) for each in split]}
            print_data({"schema": "mlfn.traffic/v1", **document}, output)
        else:
            print_traffic(split)


def print_traffic(split: tuple[Traffic, ...]) -> None:
    """Print a split as a table; tags and their addresses where there are any."""
    if any(each.tag for each in split):
        rows = [(each.revision, f"{each.percent} %", each.tag or "-", each.url or "-") for each in split]
        print(table(("REVISION", "TRAFFIC", "TAG", "URL"), rows))
    else:
        print(table(("REVISION", "TRAFFIC"), [(each.revision, f"{each.percent} %") for each in split]))


def _shares(name: str, words: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    found, wrong = [], []
    for word in words:
        revision, _, percent = word.rpartition("=")
        if revision and re.fullmatch(r"\d{1,3}%?", percent) and int(percent.rstrip("%")) <= 100:
            found.append((revision, int(percent.rstrip("%"))))
        else:
            wrong.append(word)
    if wrong:
        raise InvalidInput(
            f"{', '.join(map(repr, wrong))}: expected REVISION=PERCENT, PERCENT a whole number from 0 to 100",
            hints=(f"mlfn traffic {name} @latest=100",),
        )
    return tuple(found)


def _tags(name: str, words: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = [tuple(word.split("=")) for word in words]
    wrong = [word for word, parts in zip(words, found, strict=True) if len(parts) != 2 or not all(parts)]
    if wrong:
        raise InvalidInput(
            f"--tag {', '.join(map(repr, wrong))}: expected REVISION=TAG",
            hints=(f"mlfn traffic {name} --tag @latest=candidate",),
        )
    return tuple((revision, tag) for revision, tag in found)
