"""`mlfn serve`: nothing heavy is imported before the function server imports it, so that it starts as fast as it can.

The file goes straight to ``mlfn_runtime``. Only when it does not load is it opened with ``mlfn.models``, to say why.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.options import setting_options
from mlfn.command.output import say
from mlfn.errors import Conflict, InvalidInput, MlfnError
from mlfn.settings import resolve_here
from mlfn.settings.fields import ServeSettings

if TYPE_CHECKING:
    from mlfn_runtime.server import ServerSettings

__all__ = ["serve"]

_LIMITS = ("serve.threads", "serve.max_queue", "serve.max_body", "serve.timeout", "serve.openwhisk")


@click.command(short_help="Serve a model in this terminal, without a platform.")
@click.argument("model", type=click.Path(path_type=Path))
@setting_options("serve.name", "serve.host", "serve.port", "serve.log_file", *_LIMITS)
def serve(model: Path, **flags: object) -> int:
    """Serve MODEL (an ONNX file or an MLflow folder) in this terminal, until Ctrl-C.

    One process answers every contract: Open Inference REST, CloudEvents, /ping and /invocations, /metrics, and a page
    to try it at /docs. One JSON line per request goes to standard output or to --log-file.

    \b
    Examples:
      mlfn serve model.onnx
      mlfn serve model.onnx --name iris --port 9000 --log-file iris.log
    """
    from mlfn_runtime.server import serve as run

    asked = resolve_here(flags).settings.serve
    server = _server_settings(model, asked)
    failures: list[dict[str, object]] = []

    def notify(event: str, facts: dict[str, object]) -> None:
        if event == "ready":
            say(_welcome(server, facts))
        elif event == "failed":
            failures.append(facts)

    try:
        code = run(server, notify=notify)
    except OSError as error:
        if not asked.log_file or error.filename != asked.log_file:
            raise
        raise InvalidInput(f"--log-file: {asked.log_file} cannot be written: {error.strerror}") from error
    if failures:
        raise _explained(model, asked, failures[0])
    return code


def _server_settings(model: Path, asked: ServeSettings) -> ServerSettings:
    from mlfn_runtime.server import ServerSettings

    return ServerSettings(
        model_path=str(_model_file(model)),
        name=asked.name or model.absolute().stem,
        host=asked.host,
        port=asked.port,
        log_path=asked.log_file or None,
        threads=asked.threads,
        max_queue=asked.max_queue,
        max_body_bytes=asked.max_body_bytes,
        request_timeout_s=asked.timeout_s,
        # OpenWhisk sets it in every container that it starts.
        openwhisk=asked.openwhisk or "__OW_API_HOST" in os.environ,
    )


def _model_file(model: Path) -> Path:
    """Return the file to load; what is plainly no ONNX file is opened by the book, which says what it is."""
    if model.is_file() and _begins_like_onnx(model):
        return model
    from mlfn.models import open_model

    package = open_model(model)
    return package.root / package.entry


def _begins_like_onnx(file: Path) -> bool:
    # Every exporter writes the fields in order, so the first is ir_version: field 1, a varint.
    try:
        with file.open("rb") as opened:
            return opened.read(1) == b"\x08"
    except OSError:
        return False


def _welcome(server: ServerSettings, facts: dict[str, object]) -> str:
    stages = facts.get("seconds")
    total = sum(stages.values()) if isinstance(stages, dict) else 0.0
    host = f"[{server.host}]" if ":" in server.host else server.host
    address = f"http://{host}:{facts.get('port', server.port)}"
    return f"serving {server.name} at {address} (loaded in {total:.2f} s; try it at {address}/docs; Ctrl-C stops it)"


def _explained(model: Path, asked: ServeSettings, facts: dict[str, object]) -> MlfnError:
    """Turn what the server told into what the user can do about it; raises where reading the file tells more."""
    kind, told = facts.get("kind"), str(facts.get("error", "it gave no reason"))
    if kind == "listen":
        if os.strerror(errno.EADDRINUSE) not in told:
            return InvalidInput(told, hints=("--host takes an address of this machine, --port a free port, or 0",))
        return Conflict(
            told,
            hints=(f"take another port: mlfn serve {model} --port {asked.port + 1}, or 0 for a free one",),
        )
    if kind == "load":
        from mlfn.delivery.deploy import read_model

        read_model(model)
        return InvalidInput(f"{model} cannot be loaded: {told}")
    if kind == "warm_up":
        return InvalidInput(
            f"{model} loads, but {told}",
            hints=(f"mlfn inspect {model} --example prints the request that was tried",),
        )
    return MlfnError(f"{model} cannot be served: {told}")
