"""`mlfn invoke`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from mlfn.command.advice import near_functions
from mlfn.command.connecting import connect
from mlfn.command.names import function_argument
from mlfn.command.options import PLATFORM, output_option, setting_options
from mlfn.command.output import Format, print_data, say, stages, table
from mlfn.errors import InvalidInput
from mlfn.function import Answer

__all__ = ["invoke"]

_SHOWN_VALUES = 12


@click.command(short_help="Send a request to a function and print its answer.")
@function_argument()
@click.option(
    "-d", "--data", metavar="JSON|@FILE|-", show_envvar=True, help="The request: JSON, a file, or standard input."
)
@click.option("--example", is_flag=True, show_envvar=True, help="Send a request made from the function's signature.")
@click.option(
    "--path",
    default="",
    metavar="PATH",
    show_envvar=True,
    help="Send to another path of the function, such as /invocations.  [default: /v2/models/NAME/infer]",
)
@click.option("--tag", default="", metavar="TAG", show_envvar=True, help="Ask the revision of this tag alone.")
@setting_options("invoke.timeout", *PLATFORM)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def invoke(name: str, data: str | None, example: bool, path: str, tag: str, output: Format, **flags: object) -> None:
    """Send a request to the function NAME and print its answer.

    The request is an Open Inference document (`mlfn inspect MODEL --example` prints one). How long it took is said on
    stderr, and which way led to a function of a cluster: its address, an ingress, or a port-forward. When the function
    refuses the request, its words are printed and the exit code is 2.

    \b
    Examples:
      mlfn invoke iris --example
      mlfn invoke iris -d @request.json -o json
      mlfn invoke iris --tag candidate --example
      echo '{"inputs": [...]}' | mlfn invoke iris -d -
    """
    from mlfn.delivery.invoke import Invocation
    from mlfn.delivery.invoke import invoke as send

    if example == (data is not None):
        raise InvalidInput(
            "--data and --example exclude each other" if example else "no request given: expected --data or --example",
            hints=(f"mlfn invoke {name} --example",),
        )
    resolved, platform = connect(flags)
    body = None if data is None else _body(data)
    with stages() as stage, near_functions(platform, name):
        stage(f"waiting for {name}")
        answer = send(platform, Invocation(name, body, path, resolved.settings.invoke.timeout_s, tag))
    _print(answer.body, output)
    say(_duration(answer))


def _duration(answer: Answer) -> str:
    held = next((value for name, value in answer.headers.items() if name.lower() == "mlfn-held-seconds"), "")
    cold = f", {float(held) * 1000:.1f} ms of it until an instance was ready" if held else ""
    way = f", by {answer.via}" if answer.via else ""
    return f"{answer.seconds * 1000:.1f} ms{cold}{way}"


def _body(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    file = Path(data[1:])
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"--data: {file} cannot be read: {error.strerror}") from error


def _print(body: bytes, output: Format) -> None:
    if output is Format.JSON:
        print(body.decode(errors="replace"))
        return
    try:
        answer = json.loads(body)
    except ValueError:
        print(body.decode(errors="replace"))
        return
    if output is Format.YAML:
        print_data(answer, output)
    elif isinstance(answer, dict) and isinstance(answer.get("outputs"), list):
        print(table(("OUTPUT", "DATATYPE", "SHAPE", "VALUES"), [_row(each) for each in answer["outputs"]]))
    else:
        print(json.dumps(answer, indent=2, ensure_ascii=False))


def _row(output: dict[str, object]) -> tuple[str, str, str, str]:
    data, shape = output.get("data"), output.get("shape")
    values = data if isinstance(data, list) else []
    shown = ", ".join(f"{each:.6g}" if isinstance(each, float) else str(each) for each in values[:_SHOWN_VALUES])
    more = f", … {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
    dims = " x ".join(map(str, shape)) if isinstance(shape, list) and shape else "scalar"
    return str(output.get("name", "")), str(output.get("datatype", "")), dims, shown + more
