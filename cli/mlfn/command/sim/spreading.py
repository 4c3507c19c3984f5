"""Options of the commands that spread runs over cores or machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlfn.errors import InvalidInput

if TYPE_CHECKING:
    from mlfn_sim.sweeps import Where

__all__ = ["spread_options", "where"]

_ON = ("processes", "ray", "dask")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def spread_options(command: _Command) -> _Command:
    """Give a command ``--jobs``, ``--on`` and ``--address``: what :func:`where` makes a value of."""
    for option in (
        click.option(
            "--address", default="", show_envvar=True, help="Ray or Dask cluster.  [default: one on this machine]"
        ),
        click.option(
            "--on",
            type=click.Choice(_ON),
            default=_ON[0],
            show_default=True,
            show_envvar=True,
            help="What runs are spread over.",
        ),
        click.option(
            "--jobs", type=click.IntRange(1), show_envvar=True, help="Processes.  [default: one for each core]"
        ),
    ):
        command = option(command)
    return command


def where(options: Mapping[str, Any], out: Path | None) -> Where:
    """Return where the runs are done, and kept: in ``out``, if it is given."""
    from mlfn_sim.sweeps import Where

    on, address = options["on"], options["address"]
    if address and on == _ON[0]:
        raise InvalidInput(
            f"--address is {address!r}, and --on is processes; a cluster has an address",
            hints=(f"--on ray --address {address}", f"--on dask --address {address}"),
        )
    return Where(out, on, options["jobs"], address)
