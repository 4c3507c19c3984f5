"""`mlfn manifest`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.connecting import connect
from mlfn.command.deploy import ORDER, order_of
from mlfn.command.dry_run import print_objects
from mlfn.command.options import output_option, setting_options
from mlfn.command.output import Format, print_data, say, stages
from mlfn.errors import InvalidInput

if TYPE_CHECKING:
    from mlfn.delivery.manifest import Written

__all__ = ["manifest"]


@click.command(short_help="Write what a deploy would apply, for Git: objects, a Helm chart, a kustomize base.")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@setting_options(*ORDER)
@click.option("--image", default="", metavar="REF@sha256:…", help="An image that is built already; else it is built.")
@click.option("--helm", type=click.Path(path_type=Path), metavar="FOLDER", help="Write a Helm chart.")
@click.option("--kustomize", type=click.Path(path_type=Path), metavar="FOLDER", help="Write a base for kustomize.")
@click.option(
    "--wskdeploy",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With OpenWhisk: write manifest.yaml for wskdeploy, and deploy.sh with the same as commands of wsk.",
)
@output_option(Format.YAML, Format.JSON)
def manifest(
    model: Path | None,
    image: str,
    helm: Path | None,
    kustomize: Path | None,
    wskdeploy: Path | None,
    output: Format,
    **flags: object,
) -> None:
    """Write what deploying MODEL to a cluster would apply: the very same objects, for Git.

    They go to standard output, as one text that `kubectl apply -f -` takes, or into a folder as a Helm chart or a base
    for kustomize; with --platform openwhisk, as a manifest for wskdeploy. Nobody is asked. The image is built and
    pushed as by a deploy, unless --image names one.

    \b
    Examples:
      mlfn manifest model.onnx --platform knative -r registry.example.com/team > function.yaml
      mlfn manifest model.onnx --platform kubernetes --image registry.example.com/team/iris@sha256:… --helm chart
      mlfn manifest model.onnx --platform knative -r registry.example.com/team --kustomize base
      mlfn manifest model.onnx --platform openwhisk -r registry.example.com/team --wskdeploy project
    """
    from mlfn.delivery.manifest import Layout, objects_for, plain, project_for, write_folder, write_project
    from mlfn.platforms import Projects

    if helm and kustomize:
        raise InvalidInput("--helm and --kustomize exclude each other", hints=("run the command once for each",))
    resolved, platform = connect(flags)
    order = replace(order_of(resolved, model, "manifest"), ready_image=image)
    if isinstance(platform, Projects):
        if helm or kustomize:
            raise InvalidInput(
                f"--helm and --kustomize are for clusters, and {platform.name} is none",
                hints=("--wskdeploy FOLDER",),
            )
        with stages() as stage:
            project = project_for(platform, order, progress=stage)
        if wskdeploy is None:
            print_objects((project.manifest,), output)
        else:
            _print(write_project(project, wskdeploy), output)
        return
    if wskdeploy:
        raise InvalidInput(f"--wskdeploy is for OpenWhisk, not for {platform.name}", hints=("--platform openwhisk",))
    namespace = resolved.settings.cluster.namespace
    with stages() as stage:
        request, objects = objects_for(platform, order, progress=stage)
    folder = helm or kustomize
    if folder is None:
        print_objects(plain(objects, namespace), output)
    else:
        _print(write_folder(request, objects, namespace, Layout(folder, helm=helm is not None)), output)


def _print(written: Written, output: Format) -> None:
    if output is Format.JSON:
        document = {"folder": str(written.folder), "files": list(written.files), "removed": list(written.removed)}
        print_data({"schema": "mlfn.manifest_folder/v1", **document}, output)
        return
    for name in written.files:
        print(written.folder / name)
    if written.removed:
        say(f"removed what is no longer needed: {', '.join(written.removed)}")
