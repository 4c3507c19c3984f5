"""`mlfn serve`: nothing heavy is imported before the function server imports it, so that it starts as fast as it can.

The file goes straight to ``mlfn_runtime``. Only when it does not load is it opened with ``mlfn.models``, to say why.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from mlfn.command.options import setting_options
from mlfn.command.output import say
from mlfn.errors import Conflict, InvalidInput, MlfnError
from mlfn.settings import Settings, resolve

__all__ = ["serve"]


@click.command(short_help="Serve a model in this terminal, without a platform.")
@click.argument("model", type=click.Path(path_type=Path))
@setting_options("serve.name", "serve.host", "serve.port", "serve.log_file", "serve.openwhisk")
def serve(model: Path, **flags: object) -> int:
    """Serve MODEL (an ONNX file or an MLflow folder) in this terminal, until Ctrl-C.

    One process answers every contract: Open Inference REST, CloudEvents, /ping and /invocations, /metrics, and a page
    to try it at /docs. One JSON line per request goes to standard output or to --log-file.

    \b
    Examples:
      mlfn serve model.onnx
      mlfn serve model.onnx --name iris --port 9000 --log-file iris.log
    """
    settings = resolve(flags, os.environ, Path.cwd()).settings
    file = _model_file(model)
    from mlfn_runtime.server import ServerSettings
    from mlfn_runtime.server import serve as run

    asked = settings.serve
    failures: list[dict[str, object]] = []
    name = asked.name or _name_of(model)

    def notify(event: str, facts: dict[str, object]) -> None:
        if event == "ready":
            say(_welcome(name, settings, facts))
        elif event == "failed":
            failures.append(facts)

    code = run(
        ServerSettings(
            model_path=str(file),
            name=name,
            host=asked.host,
            port=asked.port,
            log_path=asked.log_file or None,
            openwhisk=asked.openwhisk,
        ),
        notify=notify,
    )
    if failures:
        raise _explained(model, settings, failures[0])
    return code


def _model_file(model: Path) -> Path:
    if model.is_file():
        return model
    from mlfn.models import open_model

    package = open_model(model)
    return package.root / package.entry


def _name_of(model: Path) -> str:
    return model.absolute().stem


def _welcome(name: str, settings: Settings, facts: dict[str, object]) -> str:
    stages = facts.get("seconds")
    total = sum(stages.values()) if isinstance(stages, dict) else 0.0
    address = f"http://{settings.serve.host}:{facts.get('port', settings.serve.port)}"
    return f"serving {name} at {address} (ready in {total:.2f} s; try it at {address}/docs; Ctrl-C stops it)"


def _explained(model: Path, settings: Settings, facts: dict[str, object]) -> MlfnError:
    """Turn what the server told into what the user can do about it; raises where reading the file tells more."""
    kind, told = facts.get("kind"), str(facts.get("error", "it gave no reason"))
    if kind == "listen":
        where = f"{settings.serve.host}:{settings.serve.port}"
        return Conflict(
            f"cannot listen on {where}: {told}",
            hints=(f"take another port: mlfn serve {model} --port {settings.serve.port + 1}, or 0 for a free one",),
        )
    if kind == "load":
        from mlfn.delivery.deploy import read_model

        read_model(model)
        return InvalidInput(f"{model} cannot be loaded: {told}")
    if kind == "warm_up":
        return InvalidInput(
            f"{model} loads, but fails its first inference: {told}",
            hints=(f"mlfn inspect {model} --example prints the request that was tried",),
        )
    return MlfnError(f"{model} cannot be served: {told}")
