"""The entry-point tables: formats, platforms and whatever else one module and one line can add.

Built-ins stand in the same tables. Nothing is imported until it is asked for by name; a name that does not exist is
answered with the nearest that does, and a plugin that does not load is named together with the package it came in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlfn.errors import InvalidInput, MissingExtra
from mlfn.nearest import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["FORMATS", "PLATFORMS", "load", "names"]

FORMATS = "mlfn.formats"
"""Model formats: ``detect`` and ``open`` (mlfn.models)."""
PLATFORMS = "mlfn.platforms"
"""Platforms: a ``Connect`` (mlfn.platforms)."""


# What code that we did not write raises while it is imported, short of what must pass (Ctrl-C, out of memory).
_DOES_NOT_LOAD = (ImportError, AttributeError, SyntaxError, NameError, TypeError, ValueError, RuntimeError, OSError)


def names(group: str) -> tuple[str, ...]:
    """Return the names in a table, sorted."""
    return tuple(sorted(_table(group)))


def load(group: str, name: str) -> Any:
    """Return the object that ``name`` stands for. Raises InvalidInput (no such name), MissingExtra (does not load).

    Which protocol it keeps is the group's matter: the caller names it, and the conformance suite of the kind checks it.
    """
    table = _table(group)
    if name not in table:
        kind = _kind(group)
        raise InvalidInput(
            f"unknown {kind} {name!r}",
            hints=(*did_you_mean(name, table), f"the {kind}s installed here: {', '.join(sorted(table)) or 'none'}"),
        )
    return _load(group, table[name])


def _table(group: str) -> dict[str, EntryPoint]:
    # Imported on the first look: it takes 20 ms, which completion and `--help` of a command have no use for.
    from importlib.metadata import entry_points

    # The first wins: an installed copy must not be replaced by a second distribution further down the path.
    table: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        table.setdefault(entry.name, entry)
    return table


def _kind(group: str) -> str:
    return group.rpartition(".")[2].removesuffix("s")


def _load(group: str, entry: EntryPoint) -> object:
    try:
        return entry.load()
    except _DOES_NOT_LOAD as error:
        package = entry.dist.name if entry.dist else "an unknown package"
        raise MissingExtra(
            f"the {_kind(group)} {entry.name!r} does not load: {entry.value}: {error}",
            hints=(f"it comes with the package {package}: pip install --force-reinstall {package}",),
        ) from error
