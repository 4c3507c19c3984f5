"""Options that several commands share, made from the settings so that help, defaults and ranges are said once.

An option that stands for a setting stays text here: the resolver reads it, together with every other source, and
reports all that is wrong at once. Used while commands are defined; nothing of it runs during a command, but for ``-o``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from mlfn.command.output import Format, FormatType
from mlfn.errors import InvalidInput
from mlfn.nearest import did_you_mean
from mlfn.settings.fields import FIELDS, Field

__all__ = ["CONTEXT", "IMAGE", "PLATFORM", "NearGroup", "output_option", "setting_options", "unknown_command"]

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
PLATFORM = (
    "platform",
    "cluster.namespace",
    "cluster.context",
    "cluster.kubeconfig",
    "openwhisk.apihost",
    "openwhisk.insecure",
)
"""What every command that talks to a platform takes."""
IMAGE = tuple(
    f"image.{key}"
    for key in (
        "registry",
        "base",
        "arch",
        "builder",
        "lock",
        "wheel_dir",
        "index_url",
        "ca_file",
        "plain_http",
    )
)
"""What every command that makes an image takes."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class NearGroup(click.Group):
    """Offer the nearest command for one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or offer the nearest."""
        if args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise unknown_command(args[0], self.commands, ctx.command_path)
        return super().resolve_command(ctx, args)


def unknown_command(name: str, known: Iterable[str], path: str) -> InvalidInput:
    """Return the refusal of a command that does not exist below ``path``."""
    return InvalidInput(
        f"unknown command {name!r}", hints=(*did_you_mean(name, known), f"{path} --help lists the commands")
    )


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
        *([field.short] if field.short else []),
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
