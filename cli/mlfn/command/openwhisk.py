"""`mlfn openwhisk`: a small OpenWhisk on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from mlfn.command.options import CONTEXT, NearGroup
from mlfn.command.output import say
from mlfn.errors import InvalidInput, MissingExtra

__all__ = ["openwhisk"]

_ENGINES = ("docker", "podman")


@click.group(cls=NearGroup, short_help="Run a small OpenWhisk on this machine.", context_settings=CONTEXT)
def openwhisk() -> None:
    """Run a small OpenWhisk on this machine, for trying actions without a cluster."""


@openwhisk.command(short_help="Serve OpenWhisk's API until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=3233, show_default=True, help="Port; 0: any free one.")
@click.option(
    "--engine",
    type=click.Choice(("auto", *_ENGINES, "process")),
    default="auto",
    show_default=True,
    help="What actions run in: containers of docker or podman, or processes of mlfn's runtime.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME=MODEL.onnx",
    help="With processes: the model that an image's name stands for. May be given again.",
)
@click.option("--memory", type=click.IntRange(128), default=1024, show_default=True, help="MB for all containers.")
@click.option(
    "--most-memory", type=click.IntRange(128), default=512, show_default=True, help="MB that one action may ask for."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 500), default=1, show_default=True, help="Calls at once in a container."
)
@click.option(
    "--per-minute",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="Invocations, and trigger fires, that a namespace may make in a minute.",
)
@click.option("--pause-grace", type=click.IntRange(0), default=10, show_default=True, help="Seconds until a pause.")
@click.option("--idle", type=click.IntRange(1), default=600, show_default=True, help="Seconds paused until removal.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the credentials file. [default: mlfn's state folder]",
)
def dev(engine: str, images: tuple[str, ...], state_dir: Path | None, **given: object) -> int:
    """Serve OpenWhisk's REST API, web actions included, until Ctrl-C.

    `wsk` and `mlfn --platform openwhisk` find it by the credentials file that it names when it is ready. Entities are
    kept in memory and are gone when it ends. Limits and times are those of OpenWhisk's standalone server.

    \b
    Examples:
      mlfn openwhisk dev
      mlfn openwhisk dev --engine process --image iris:v1=model.onnx
    """
    from mlfn.platforms.openwhisk_dev import DevOptions, run

    options = DevOptions(
        engine=_chosen(engine, images),
        models=dict(_model(text) for text in images),
        state_dir=state_dir or _state_dir(),
        **given,  # type: ignore[arg-type]
    )
    return run(options, say)


def _chosen(engine: str, images: tuple[str, ...]) -> str:
    if engine == "auto":
        found = next((name for name in _ENGINES if shutil.which(name)), "process")
        return "process" if images else found
    if engine in _ENGINES and shutil.which(engine) is None:
        raise MissingExtra(
            f"--engine: {engine} is not on PATH",
            hints=("mlfn openwhisk dev --engine process --image NAME=MODEL.onnx",),
        )
    if engine in _ENGINES and images:
        raise InvalidInput(f"--image: with --engine {engine} actions run in their own images; leave it out")
    return engine


def _model(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise InvalidInput(f"--image: {text!r} is not NAME=MODEL.onnx")
    if not Path(path).is_file():
        raise InvalidInput(f"--image: there is no file {path}")
    return name, Path(path).resolve()


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "mlfn" / "openwhisk"
