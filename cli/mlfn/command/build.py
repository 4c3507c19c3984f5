"""`mlfn build`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.deploy import model_file, name_of_model
from mlfn.command.options import IMAGE, setting_options
from mlfn.command.output import Format, FormatType, print_data, print_findings, say, stages
from mlfn.settings import resolve_here

if TYPE_CHECKING:
    from mlfn.images import BuiltImage

__all__ = ["build"]

_FORMS = (Format.TABLE, Format.JSON, Format.YAML, Format.NAME)


@click.command(short_help="Make a container image of a model, without a container engine.")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@setting_options("function.name", *IMAGE)
@click.option(
    "--output",
    "to",
    type=click.Path(path_type=Path),
    metavar="FOLDER|FILE.tar",
    help="Write an OCI layout, or a tar that docker and podman load, instead of pushing.",
)
@click.option(
    "-o",
    "form",
    type=FormatType(_FORMS),
    default=Format.TABLE.value,
    envvar="MLFN_OUTPUT",
    show_envvar=True,
    show_default=True,
    metavar="|".join(_FORMS),
    help="Form of what is printed.",
)
def build(model: Path | None, to: Path | None, form: Format, **flags: object) -> None:
    """Make a container image of MODEL (an ONNX file or an MLflow folder) and push it.

    No container engine is needed. The reference with its digest is the last thing printed. The same model, settings,
    packages and base give the same digest on any machine; when the registry has that image, nothing is made or sent.

    \b
    Examples:
      mlfn build model.onnx -r registry.example.com/team
      mlfn build model.onnx -r localhost:5000 --arch amd64,arm64 -o json
      mlfn build model.onnx --output image.tar && docker load -i image.tar
    """
    from mlfn.delivery.deploy import read_model
    from mlfn.images import build as make
    from mlfn.images import requested

    resolved = resolve_here(flags)
    settings = resolved.settings
    file = model_file(resolved, model, "mlfn build path/to/model.onnx -r REGISTRY")
    with stages() as stage:
        stage("reading the model")
        package = read_model(file)
        request = requested(settings.function.name or name_of_model(file), settings.image, os.environ, to)
        built = make(package, request, stage)
    _print(built, form)


def _print(built: BuiltImage, form: Format) -> None:
    if form.is_data:
        print_data(built.as_json(), form)
        return
    print_findings(built.findings)
    say(_summary(built))
    print(built.ref.pinned if built.pushed else built.ref.tagged)


def _summary(built: BuiltImage) -> str:
    own = sum(layer.size for layer in built.layers if layer.kind != "base")
    sizes = f"{built.size / 1e6:.1f} MB, {own / 1e6:.1f} MB of them above the base"
    if not built.changed:
        return f"unchanged: {built.ref.tagged} is there already ({sizes})"
    return f"built {built.ref.tagged} in {built.seconds['total']:.2f} s: {sizes}; {_whereabouts(built)}"


def _whereabouts(built: BuiltImage) -> str:
    if built.output:
        return f"written to {built.output}"
    if not built.pushed:
        return "kept by the engine"
    # An engine does not say how much it sent.
    return f"pushed, {built.pushed_bytes / 1e6:.1f} MB sent" if built.pushed_bytes else "pushed"
