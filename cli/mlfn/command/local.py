"""`mlfn local`: the service behind the local platform."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.options import CONTEXT, NearGroup, output_option, setting_options
from mlfn.command.output import Format, print_data, say, stages, utc
from mlfn.settings import resolve_here

if TYPE_CHECKING:
    from mlfn.platforms.local import ServiceInfo

__all__ = ["local"]

_FORMS = (Format.TABLE, Format.JSON, Format.YAML)
_SETTINGS = ("local.state_dir", "local.port")


@click.group(cls=NearGroup, short_help="Start, stop and look at the service on this machine.", context_settings=CONTEXT)
def local() -> None:
    """Start, stop and look at the service that runs functions on this machine.

    Commands that need it start it; it stays until `mlfn local down`, and what is deployed stays even then.
    """


@local.command(short_help="Start the service, if it does not run.")
@setting_options(*_SETTINGS)
@output_option(*_FORMS, Format.URL)
def up(output: Format, **flags: object) -> None:
    """Start the service, if it does not run; with --port, move the functions' addresses there.

    \b
    Examples:
      mlfn local up
      mlfn local up --port 9000 -o url
    """
    from mlfn.platforms.local import up as start

    with stages() as stage:
        stage("starting the service")
        info = start(_settings(flags))
    _print(info, output)


@local.command(short_help="Stop the service and all instances.")
@setting_options("local.state_dir")
@output_option(*_FORMS)
def down(output: Format, **flags: object) -> None:
    """Stop the service and all instances. What is deployed stays, and is back with the next command.

    \b
    Examples:
      mlfn local down
    """
    from mlfn.platforms.local import down as stop

    with stages() as stage:
        stage("stopping the service")
        stopped = stop(_settings(flags))
    if output.is_data:
        print_data({"schema": "mlfn.local-down/v1", "stopped": stopped}, output)
    else:
        say("stopped" if stopped else "the service does not run")


@local.command(short_help="Describe the service, without starting it.")
@setting_options("local.state_dir")
@output_option(*_FORMS, Format.URL)
def status(output: Format, **flags: object) -> None:
    """Describe the service, without starting it.

    \b
    Examples:
      mlfn local status
      mlfn local status -o json | jq .running
    """
    from mlfn.platforms.local import service_status

    _print(service_status(_settings(flags)), output)


@local.command(short_help="Remove stored models that no function uses.")
@setting_options("local.state_dir")
@output_option(*_FORMS)
def prune(output: Format, **flags: object) -> None:
    """Remove the stored models that no revision of a function uses.

    \b
    Examples:
      mlfn local prune
    """
    from mlfn.platforms.local import prune as clean

    pruned = clean(_settings(flags))
    if output.is_data:
        print_data({"schema": "mlfn.pruned/v1", **asdict(pruned)}, output)
    else:
        say(f"removed {len(pruned.digests)} models, {pruned.freed_bytes / 2**20:.1f} MiB")


@local.command(short_help="Print a systemd unit that starts the service at login.")
@setting_options("local.state_dir")
def unit(**flags: object) -> None:
    """Print a systemd unit that starts the service at login; it says where to put it.

    \b
    Examples:
      mlfn local unit > ~/.config/systemd/user/mlfn-local.service
    """
    from mlfn_templates import render

    executable = Path(sys.executable).with_name("mlfn")
    state_dir = _settings(flags).get("local.state_dir", "")
    print(render("mlfn-local.service.j2", {"mlfn": str(executable), "state_dir": state_dir}), end="")


def _settings(flags: dict[str, object]) -> dict[str, str]:
    return resolve_here(flags).texts("local")


def _print(info: ServiceInfo, output: Format) -> None:
    started = None if info.started_at is None else utc(info.started_at)
    facts = {**asdict(info), "started_at": started}
    if output.is_data:
        print_data({"schema": "mlfn.local/v1", **facts}, output)
    elif output is Format.URL:
        print(info.url)
    else:
        shown = {**facts, "running": "yes" if info.running else "no", "memory": f"{info.memory_bytes / 2**20:.0f} MiB"}
        del shown["memory_bytes"]
        for key, value in shown.items():
            if value not in (None, ""):
                print(f"{key.replace('_', ' ') + ':':<12} {value}")
