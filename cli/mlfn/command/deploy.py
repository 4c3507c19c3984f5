"""`mlfn deploy`, and the order that it shares with what else is about a deploy."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.dry_run import rehearse
from mlfn.command.options import IMAGE, PLATFORM, output_option, setting_options
from mlfn.command.output import Format, outcome_stands, print_data, print_findings, say, stages
from mlfn.errors import InvalidInput
from mlfn.function import Deployed, FunctionSpec, Severity
from mlfn.platforms import Platform
from mlfn.plugins import PLATFORMS, load
from mlfn.settings import FIELDS, Resolved, resolve_here
from mlfn.settings.values import FUNCTION_NAME, corrected_name

if TYPE_CHECKING:
    from mlfn.delivery.deploy import Order

__all__ = ["ORDER", "deploy", "model_file", "name_of_model", "order_of", "spec_of"]

_FUNCTION = tuple(key for key, field in FIELDS.items() if field.section == "function" and field.attribute != "model")
ORDER = (*_FUNCTION, *IMAGE, *PLATFORM, "openwhisk.public", "openwhisk.logs_mb", "openwhisk.keep")
"""The settings that say what is deployed, and where."""

_DRY = click.Choice(["client", "server"])

_REACH = ("reachable-from-outside", "cluster-only")
"""The findings that say who can call a function: told with every deploy that changes something."""


@click.command(short_help="Make a model answer as a function that scales from zero and back.")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@setting_options(*ORDER, "cluster.wait_timeout")
@click.option("--force", is_flag=True, help="Take over objects of that name that mlfn does not manage yet.")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, show_envvar=True, help="Wait until the function is ready."
)
@click.option(
    "--dry-run",
    type=_DRY,
    help="Change and push nothing: print the objects that would be applied (client), or let the cluster check them and "
    "tell what would change (server).",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML, Format.NAME, Format.URL)
def deploy(model: Path | None, wait: bool, force: bool, dry_run: str | None, output: Format, **flags: object) -> None:
    """Make MODEL (an ONNX file or an MLflow folder) answer as a function that scales from zero and back.

    The address is the last thing printed. Deploying the same thing twice changes nothing; when a new revision does not
    become ready, the one before serves on and the exit code is 7. Without MODEL, mlfn.yaml names it (function.model).

    \b
    Examples:
      mlfn deploy model.onnx
      mlfn deploy iris.onnx --name flowers --concurrency 8 --max-scale 2 --memory 512Mi
      mlfn deploy model.onnx --min-scale 1 --env LANG=C -o json
      mlfn deploy model.onnx --platform knative --dry-run server
    """
    from mlfn.delivery.deploy import deploy as deliver

    resolved = resolve_here(flags)
    # As connecting.connect does for the other commands; spelled out where a reader follows one from top to bottom.
    platform: Platform = load(PLATFORMS, resolved.settings.platform)(resolved.for_platform())
    order = replace(order_of(resolved, model, "deploy"), wait=wait, force=force)
    if dry_run is not None:
        rehearse(platform, order, output, on_server=dry_run == "server")
        return
    with stages() as stage:
        deployed = deliver(platform, order, progress=stage)
    with outcome_stands():
        _print(deployed, output)


def order_of(resolved: Resolved, model: Path | None, command: str) -> Order:
    """Return the order for ``model``, else for the one that mlfn.yaml names. Raises InvalidInput when there is none."""
    from mlfn.delivery.deploy import Order

    settings = resolved.settings
    file = model_file(resolved, model, f"mlfn {command} path/to/model.onnx")
    return Order(
        model=file,
        spec=spec_of(resolved, file),
        image=settings.image,
        wait_timeout_s=settings.cluster.wait_timeout_s,
    )


def model_file(resolved: Resolved, model: Path | None, command: str) -> Path:
    """Return ``model``, else the one that mlfn.yaml names. Raises InvalidInput, with ``command`` as it should be."""
    named = resolved.settings.function.model
    if model is None and not named:
        raise InvalidInput(
            "no model given: MODEL is missing and no mlfn.yaml names one (function.model)", hints=(command,)
        )
    return model or Path(named)


def spec_of(resolved: Resolved, model: Path) -> FunctionSpec:
    """Return what the settings ask of a function that is made of ``model``."""
    asked = asdict(resolved.settings.function)
    del asked["model"]
    asked["utilization"] /= 100
    asked["name"] = asked["name"] or name_of_model(model)
    return FunctionSpec(**asked)


def name_of_model(model: Path) -> str:
    """Derive a function's name as `mlfn serve` does, from the file's stem or the folder's name."""
    stem = model.absolute().name if model.is_dir() else model.stem
    return stem if FUNCTION_NAME.fullmatch(stem) else corrected_name(stem)


def _print(deployed: Deployed, output: Format) -> None:
    if output.is_data:
        print_data({"schema": "mlfn.deployed/v1", **_document(deployed)}, output)
        return
    print_findings([each for each in deployed.findings if each.severity is not Severity.INFO])
    say(_summary(deployed))
    for finding in deployed.findings:
        if finding.what in _REACH and deployed.changed:
            say(f"{finding.message}; {finding.fix}")
    if deployed.warm:
        say(f"kept warm: {deployed.warm}")
    print(deployed.name if output is Format.NAME else deployed.url)


def _document(deployed: Deployed) -> dict[str, object]:
    seconds = {stage: round(value, 4) for stage, value in deployed.seconds.items()}
    return {**asdict(deployed), "seconds": seconds, "findings": [asdict(finding) for finding in deployed.findings]}


def _summary(deployed: Deployed) -> str:
    what = f"{deployed.name} on {deployed.platform}"
    if not deployed.changed:
        return f"unchanged: {what} already is revision {deployed.revision}"
    if not deployed.ready:
        return f"starting {what}, revision {deployed.revision}: `mlfn describe {deployed.name}` tells when it is ready"
    instead = f" instead of {deployed.previous}" if deployed.previous else ""
    return f"deployed {what}, revision {deployed.revision}{instead}, in {deployed.seconds['total']:.2f} s"
