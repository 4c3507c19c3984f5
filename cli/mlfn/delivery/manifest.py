"""Write down for Git what a deploy would apply: plain objects, a base for kustomize, or a Helm chart.

The objects are the very ones that the platform applies. A folder that was written before is written anew: files that
are no longer needed go, as far as they begin with :data:`HEAD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfn.delivery.charts import chart, kustomization
from mlfn.delivery.deploy import Order, prepare
from mlfn.delivery.documents import HEAD
from mlfn.errors import InvalidInput
from mlfn.platforms import DeployRequest, Manifests, Platform, Progress, Project, Projects

__all__ = [
    "Layout",
    "Written",
    "objects_for",
    "plain",
    "project_for",
    "with_manifests",
    "write_folder",
    "write_project",
]

Objects = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Say which folder to write, in which form."""

    folder: Path
    helm: bool
    """A Helm chart; else a kustomize base."""


@dataclass(frozen=True, slots=True)
class Written:
    """Tell what was written."""

    folder: Path
    files: tuple[str, ...]
    """Relative to the folder, sorted."""
    removed: tuple[str, ...]


def objects_for(platform: Platform, order: Order, *, progress: Progress) -> tuple[DeployRequest, Objects]:
    """Return the request that a deploy would make and the objects that it would apply; builds the image if need be."""
    manifests = with_manifests(platform)
    request, _, _ = prepare(platform, order, progress=progress)
    return request, manifests.manifests(request)


def project_for(platform: Projects, order: Order, *, progress: Progress) -> Project:
    """Return what a deploy would do on a platform of commands; builds the image if need be."""
    assert not isinstance(platform, Manifests)
    request, _, _ = prepare(platform, order, progress=progress)  # type: ignore[arg-type]  # a Platform, too
    return platform.project(request)


def write_project(project: Project, folder: Path) -> Written:
    """Write ``manifest.yaml`` for wskdeploy and ``deploy.sh``. Raises InvalidInput where they cannot be written."""
    from mlfn.delivery.documents import documents
    from mlfn_templates import render

    files = {
        "manifest.yaml": documents((project.manifest,)),
        "deploy.sh": render("wsk-deploy.sh.j2", {"commands": project.commands}),
    }
    try:
        _write(folder, files)
        (folder / "deploy.sh").chmod(0o755)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error.strerror}") from error
    return Written(folder, tuple(sorted(files)), ())


def with_manifests(platform: Platform) -> Manifests:
    """Return the platform as one whose deploys are objects of an API. Raises InvalidInput where they are not."""
    if not isinstance(platform, Manifests):
        raise InvalidInput(
            f"the platform {platform.name} has no manifests: its functions are no objects of an API",
            hints=("choose one that has: --platform knative, or --platform kubernetes",),
        )
    return platform


def plain(objects: Objects, namespace: str) -> Objects:
    """Return the objects as they are printed: in a namespace where one was named."""
    if not namespace:
        return objects
    return tuple({**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in objects)


def write_folder(request: DeployRequest, objects: Objects, namespace: str, layout: Layout) -> Written:
    """Write a chart or a kustomize base. Raises InvalidInput where the folder cannot be written."""
    files = chart(request, objects) if layout.helm else kustomization(request, objects, namespace)
    try:
        stale = _stale(layout.folder, files)
        _write(layout.folder, files)
        for name in stale:
            (layout.folder / name).unlink()
    except OSError as error:
        raise InvalidInput(f"{layout.folder} cannot be written: {error.strerror}") from error
    return Written(layout.folder, tuple(sorted(files)), stale)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files aside, and only then put them in place: a full disk leaves what was there."""
    aside: dict[Path, Path] = {}
    try:
        for name, text in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            aside[place] = place.with_name(f".{place.name}.new")
            aside[place].write_text(text, encoding="utf-8")
        for place, written in aside.items():
            written.replace(place)
    finally:
        for written in aside.values():
            written.unlink(missing_ok=True)


def _stale(folder: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """Return what an earlier run wrote and this one does not."""
    found = (*folder.glob("*.yaml"), *folder.glob("templates/*.yaml"))
    names = {str(path.relative_to(folder)) for path in found if path.read_text("utf-8", "replace").startswith(HEAD)}
    return tuple(sorted(names - set(files)))
