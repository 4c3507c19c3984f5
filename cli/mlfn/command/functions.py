"""`mlfn list` and `mlfn describe`: what a platform knows, as a table or as a document."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import click

from mlfn.command.advice import near_functions
from mlfn.command.connecting import connect
from mlfn.command.names import function_argument
from mlfn.command.options import PLATFORM, output_option, setting_options
from mlfn.command.output import Format, ago, print_data, print_findings, say, signature_table, table, utc
from mlfn.command.warm_words import status_document, status_line
from mlfn.function import FunctionSpec, FunctionStatus

__all__ = ["describe", "list_functions"]

_SHOWN_DECISIONS = 10


@click.command("list", short_help="List the functions.")
@setting_options(*PLATFORM)
@output_option(Format.TABLE, Format.WIDE, Format.JSON, Format.YAML, Format.NAME, Format.URL)
def list_functions(output: Format, **flags: object) -> None:
    """List the functions.

    \b
    Examples:
      mlfn list
      mlfn list -o url
      mlfn list -o json | jq '.functions[].name'
    """
    _, platform = connect(flags)
    found = platform.list()
    if output.is_data:
        print_data({"schema": "mlfn.functions/v1", "functions": [document(each) for each in found]}, output)
    elif output in (Format.NAME, Format.URL):
        print("".join(f"{each.name if output is Format.NAME else each.url}\n" for each in found), end="")
    elif not found:
        say("nothing is deployed: `mlfn deploy MODEL` is the way to change that")
    else:
        print(_overview(found, wide=output is Format.WIDE))


@click.command(short_help="Tell all about a function: revisions, instances, scale decisions, errors.")
@function_argument()
@setting_options(*PLATFORM)
@output_option(Format.TABLE, Format.JSON, Format.YAML, Format.NAME, Format.URL)
def describe(name: str, output: Format, **flags: object) -> None:
    """Tell all about the function NAME: revisions, instances, scale decisions with their reason, last errors.

    \b
    Examples:
      mlfn describe iris
      mlfn describe iris -o json | jq '.instances | length'
    """
    _, platform = connect(flags)
    with near_functions(platform, name):
        status = platform.status(name)
    if output.is_data:
        print_data({"schema": "mlfn.function/v1", **document(status)}, output)
    elif output in (Format.NAME, Format.URL):
        print(status.name if output is Format.NAME else status.url)
    else:
        print("\n".join(_page(status)))
        print_findings(status.findings)


def document(status: FunctionStatus) -> dict[str, object]:
    """Return a function for ``-o json``; the times are UTC."""
    settings = asdict(status.spec)
    del settings["name"]
    return {
        "name": status.name,
        "platform": status.platform,
        "url": status.url,
        "urls": list(status.urls),
        "ready": status.ready,
        "digest": status.digest,
        "format": status.format,
        "created_at": utc(status.created_at),
        "settings": settings,
        "signature": status.signature.as_json(),
        "revisions": [{**asdict(each), "created_at": utc(each.created_at)} for each in status.revisions],
        "traffic": [asdict(each) for each in status.traffic],
        "instances": [{**asdict(each), "started_at": utc(each.started_at)} for each in status.instances],
        "decisions": [{**asdict(each), "at": utc(each.at)} for each in status.decisions],
        "last_errors": list(status.last_errors),
        "findings": [each.as_json() for each in status.findings],
        "warm": status_document(status.warm) if status.warm else None,
    }


def _overview(found: tuple[FunctionStatus, ...], *, wide: bool) -> str:
    heads = ["NAME", "READY", "REVISION", "INSTANCES", "AGE", "URL"]
    rows = [
        [
            each.name,
            _yes(each.ready),
            _serving(each),
            str(len(each.instances)),
            ago(time.time() - each.created_at),
            each.url,
        ]
        for each in found
    ]
    if wide:
        heads += ["PLATFORM", "FORMAT", "DIGEST", "MEMORY"]
        for row, each in zip(rows, found, strict=True):
            memory = sum(instance.memory_bytes for instance in each.instances)
            row += [each.platform, each.format, each.digest[:19], _mib(memory)]
    return table(heads, rows)


def _page(status: FunctionStatus) -> Iterator[str]:
    now = time.time()
    yield from (f"{label + ':':<10} {text}" for label, text in _facts(status, now))
    yield from ("", signature_table(status.signature))
    columns = ("REVISION", "TRAFFIC", "TAGS", "STATE", "AGE", "DIGEST", "SETTINGS")
    yield from _section(columns, _revisions(status, now), "no revisions")
    heads = ("INSTANCE", "REVISION", "STATE", "PID", "AGE", "MEMORY", "IN FLIGHT", "RESTARTS")
    yield from _section(heads, _instances(status, now), "no instances: the next request starts one")
    yield from _section(("SCALED", "REVISION", "FROM", "TO", "BECAUSE"), _decisions(status, now), "not scaled yet")
    yield from ("", "last errors:", *(f"  {each}" for each in status.last_errors or ("none",)))


def _facts(status: FunctionStatus, now: float) -> Iterator[tuple[str, str]]:
    yield "name", status.name
    yield "url", status.url
    yield "ready", _yes(status.ready)
    yield "model", f"{status.format}, {status.digest}"
    yield "deployed", f"{ago(now - status.created_at)} ago on {status.platform}"
    if status.warm is not None:
        yield "kept warm", status_line(status.warm, status.name)
    yield "settings", _unusual({key: value for key, value in asdict(status.spec).items() if key != "env"})
    yield "env", " ".join(f"{key}={value}" for key, value in sorted(status.spec.env.items())) or "none"


def _revisions(status: FunctionStatus, now: float) -> list[tuple[str, ...]]:
    return [
        (
            each.name,
            f"{sum(share.percent for share in status.traffic if share.revision == each.name)} %",
            ", ".join(share.tag for share in status.traffic if share.revision == each.name and share.tag) or "-",
            each.state,
            ago(now - each.created_at),
            each.digest[:19],
            _unusual(each.settings),
        )
        for each in status.revisions
    ]


def _unusual(settings: Mapping[str, object]) -> str:
    """Return the settings that are not the defaults; those of the environment by name only."""
    blank = asdict(FunctionSpec(""))
    found = [
        f"{key}={','.join(map(str, value)) if isinstance(value, dict) else value}"
        for key, value in settings.items()
        if value != blank.get(key, value) and key != "name"
    ]
    return " ".join(found) or "defaults"


def _instances(status: FunctionStatus, now: float) -> list[tuple[str, ...]]:
    return [
        (
            each.id,
            each.revision,
            each.state,
            str(each.pid or ""),
            ago(now - each.started_at),
            _mib(each.memory_bytes),
            str(each.in_flight),
            str(each.restarts),
        )
        for each in status.instances
    ]


def _decisions(status: FunctionStatus, now: float) -> list[tuple[str, ...]]:
    return [
        (f"{ago(now - each.at)} ago", each.revision, str(each.before), str(each.after), each.reason)
        for each in status.decisions[-_SHOWN_DECISIONS:]
    ]


def _section(heads: tuple[str, ...], rows: list[tuple[str, ...]], empty: str) -> list[str]:
    return ["", table(heads, rows) if rows else empty]


def _serving(status: FunctionStatus) -> str:
    busy = [
        each.revision if each.percent == 100 else f"{each.revision} {each.percent}%"
        for each in status.traffic
        if each.percent
    ]
    return ", ".join(busy) or "none"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _mib(value: int) -> str:
    return f"{value / 2**20:.0f} MiB" if value else "-"
