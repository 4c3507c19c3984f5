"""The NAME of a deployed function, as an argument that a shell can complete.

Completing asks the platform that the settings name, waits a second at most, and never says a word: what it cannot learn
it does not offer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

from mlfn.errors import MlfnError

__all__ = ["function_argument"]

PATIENCE_S = 1.0
"""How long a person who pressed Tab is kept waiting for names."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def function_argument() -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command the argument NAME."""
    return click.argument("name", shell_complete=_complete)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from threading import Thread

    found: list[str] = []

    def ask() -> None:
        with suppress(MlfnError):
            found.extend(_names(ctx))

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    return [name for name in found if name.startswith(incomplete)]


def _names(ctx: click.Context) -> list[str]:
    from mlfn.command.connecting import connect
    from mlfn.settings import FIELDS

    known = {field.parameter for field in FIELDS.values()}
    _, platform = connect({key: value for key, value in ctx.params.items() if key in known})
    return [status.name for status in platform.list()]
