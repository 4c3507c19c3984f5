"""`mlfn inspect`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, print_findings, signature_table, stages
from mlfn.errors import InvalidInput
from mlfn.function import ModelPackage

__all__ = ["inspect"]


@click.command(short_help="Tell what a model takes and gives, and what is wrong with it.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--example", is_flag=True, show_envvar=True, help="Print a request body made from the signature instead.")
@click.option(
    "--load/--no-load",
    default=True,
    show_default=True,
    show_envvar=True,
    help="Load the model in ONNX Runtime too, as the function server will (not above 256 MiB).",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def inspect(model: Path, example: bool, load: bool, output: Format) -> int:
    """Tell what MODEL (an ONNX file or an MLflow folder) takes and gives, and what is wrong with it.

    Exit code 2 says that it cannot be served. The model is loaded and not run, but for --example where its free axes
    leave open how long a request has to be.

    \b
    Examples:
      mlfn inspect model.onnx
      mlfn inspect model.onnx -o json | jq .inputs
      mlfn inspect model.onnx --example > request.json
    """
    from mlfn.models import check_loads, example_body, inspection_json, open_model

    with stages() as stage:
        stage("reading the model")
        package = open_model(model)
        if example:
            import json

            stage("looking for lengths that the model takes")
            body = json.dumps(example_body(package))
        elif load:
            stage("loading the model")
            package = replace(package, findings=(*package.findings, *check_loads(package)))
    if example:
        print(body)
    elif output.is_data:
        print_data(inspection_json(package), output)
    else:
        _print(package)
    return InvalidInput.exit_code if package.errors else 0


def _print(package: ModelPackage) -> None:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in sorted(package.opsets.items()))
    facts = [("format", package.format), ("digest", package.digest), ("size", _size(package.size_bytes))]
    facts += [("opsets", opsets or "none"), ("batch", "yes" if package.signature.batch_axis == 0 else "no")]
    for label, text in facts:
        print(f"{label + ':':<8} {text}")
    print(f"\n{signature_table(package.signature)}")
    print_findings(package.findings)


def _size(size_bytes: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"
