"""`mlfn config`: every setting with its origin."""

from __future__ import annotations

from pathlib import Path

import click

from mlfn.command.options import CONTEXT, NearGroup, output_option
from mlfn.command.output import Format, print_data, say, table
from mlfn.errors import Conflict, InvalidInput
from mlfn.nearest import did_you_mean
from mlfn.settings import FIELDS, Field, Resolved, resolve_here
from mlfn.settings.values import without_login

__all__ = ["config"]

FILE = "mlfn.yaml"


@click.group(
    cls=NearGroup,
    short_help="Show every setting with its origin.",
    context_settings=CONTEXT,
    invoke_without_command=True,
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@click.pass_context
def config(context: click.Context, output: Format) -> None:
    """Show every setting with its value and its origin.

    A flag wins over an environment variable, that over mlfn.yaml (here, or in the nearest folder above up to the top of
    the repository or the home folder), that over the user's file (MLFN_CONFIG, else config.yaml in the user's
    configuration folder), that over the default.

    \b
    Examples:
      mlfn config
      mlfn config -o json
      mlfn config get function.memory
      mlfn config init
    """
    if context.invoked_subcommand is not None:
        return
    resolved = resolve_here({})
    if output.is_data:
        print_data(_document(resolved), output)
        return
    for file in resolved.files:
        say(f"read {file}")
    rows = [
        (key, _shown(resolved, field), resolved.origins[key].where or resolved.origins[key].kind, field.env)
        for key, field in FIELDS.items()
    ]
    print(table(("SETTING", "VALUE", "FROM", "ENV VAR"), rows))


@config.command(short_help="Print one value.")
@click.argument(
    "key", shell_complete=lambda ctx, param, incomplete: [key for key in FIELDS if key.startswith(incomplete)]
)
def get(key: str) -> None:
    """Print the value of one setting, such as function.memory.

    \b
    Examples:
      mlfn config get function.memory
    """
    if key not in FIELDS:
        raise InvalidInput(
            f"unknown setting {key!r}", hints=(*did_you_mean(key, FIELDS), "mlfn config lists the settings")
        )
    print(_shown(resolve_here({}), FIELDS[key]))


@config.command(short_help="Write an mlfn.yaml to start from.")
@click.option("--force", is_flag=True, show_envvar=True, help="Replace the file that is there.")
def init(force: bool) -> None:
    """Write an mlfn.yaml with every setting at its default, ready to be edited, into this folder.

    \b
    Examples:
      mlfn config init
    """
    from mlfn_templates import render

    path = Path(FILE)
    text = render("mlfn.yaml.j2", {"sections": _sections()})
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Conflict(f"{path} is there already", hints=("mlfn config init --force replaces it",)) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error
    say(f"wrote {path}")


def _document(resolved: Resolved) -> dict[str, object]:
    values = [
        {
            "key": key,
            "value": _without_login(resolved.value(key)),
            "default": field.default,
            "unit": field.unit,
            "origin": resolved.origins[key].kind,
            "where": resolved.origins[key].where,
            "env": field.env,
        }
        for key, field in FIELDS.items()
    ]
    return {"schema": "mlfn.config/v1", "values": values, "files": [str(file) for file in resolved.files]}


def _shown(resolved: Resolved, field: Field) -> str:
    return field.kind.show(_without_login(resolved.value(field.key)))


def _without_login(value: object) -> object:
    """Cover a login in an address: what is shown here ends in terminals, tickets and logs."""
    return without_login(value) if isinstance(value, str) else value


def _sections() -> list[dict[str, object]]:
    """Return what the template of mlfn.yaml lists: sections, each with its settings as text."""
    sections: dict[str, list[dict[str, str]]] = {}
    for field in FIELDS.values():
        about = {
            "key": field.key.rpartition(".")[2],
            "default": field.kind.show(field.default),
            "reason": field.reason,
            "expects": field.kind.expects,
        }
        sections.setdefault(field.section, []).append(about)
    return [{"name": name, "settings": settings} for name, settings in sections.items()]
