"""Options that several commands share, made from the settings so that help, defaults and ranges are said once.

An option that stands for a setting stays text here: the resolver reads it, together with every other source, and
reports all that is wrong at once. Used while commands are defined; nothing of it runs during a command, but for ``-o``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mlfn.command.output import Format
from mlfn.errors import InvalidInput
from mlfn.nearest import did_you_mean
from mlfn.settings.fields import FIELDS, Field

__all__ = ["CONTEXT", "PLATFORM", "NearGroup", "output_option", "setting_options"]

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
PLATFORM = ("platform",)
"""What every command that talks to a platform takes."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class NearGroup(click.Group):
    """Offer the nearest command for one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or offer the nearest."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise InvalidInput(
                f"unknown command {args[0]!r}",
                hints=(*did_you_mean(args[0], known), f"{ctx.command_path} --help lists the commands"),
            )
        return super().resolve_command(ctx, args)


class FormatType(click.ParamType[Format]):
    """Take one of the forms that a command can print."""

    name = "format"

    def __init__(self, forms: tuple[Format, ...]) -> None:
        self.forms = forms

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Format:
        """Return the form, or offer the nearest."""
        if value not in self.forms:
            raise InvalidInput(
                f"-o: unknown form of output {str(value)!r}, expected one of {', '.join(self.forms)}",
                hints=did_you_mean(str(value), map(str, self.forms)),
            )
        return Format(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete the name of a form."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(form.value) for form in self.forms if form.startswith(incomplete)]


def output_option(*forms: Format) -> Callable[[_Command], _Command]:
    """Return the ``-o`` option for a command that can print ``forms``; the first is the default."""
    return click.option(
        "-o",
        "--output",
        type=FormatType(forms),
        default=forms[0].value,
        envvar="MLFN_OUTPUT",
        show_envvar=True,
        show_default=True,
        metavar="|".join(forms),
        help="Form of the output.",
    )


def setting_options(*keys: str) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command one option for each setting."""

    def decorate(command: _Command) -> _Command:
        for key in reversed(keys):
            command = _option(FIELDS[key])(command)
        return command

    return decorate


def _option(field: Field) -> Callable[[_Command], _Command]:
    about = f"{field.reason[0].upper()}{field.reason[1:]}.  [{_facts(field)}]"
    if field.kind.name == "BOOLEAN":
        names = f"{field.option}/--no-{field.option[2:]}"
        return click.option(names, field.parameter, default=None, help=about, allow_from_autoenv=False)
    return click.option(
        field.option,
        field.parameter,
        metavar=field.kind.name,
        multiple=isinstance(field.default, dict),
        help=about,
        allow_from_autoenv=False,
    )


def _facts(field: Field) -> str:
    shown = field.kind.show(field.default)
    facts = [field.kind.expects] if field.kind.name not in ("PATH", "TEXT", "HOST") else []
    facts += [f"default: {shown}"] if shown else []
    return "; ".join([*facts, f"env var: {field.env}"])
