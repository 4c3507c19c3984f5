"""Deploy a model: read it, refuse what cannot be served, make an image where the platform wants one, hand it over."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from mlfn.delivery.warm import Kept, companions, keep_warm, summary
from mlfn.errors import InvalidInput
from mlfn.function import Deployed, Finding, FunctionSpec, ImageRef, ModelPackage, Severity
from mlfn.models import open_model
from mlfn.platforms import DeployRequest, Foresees, Platform, Progress
from mlfn.settings.fields import FIELDS, ImageSettings

__all__ = ["Order", "deploy", "prepare", "read_model"]


@dataclass(frozen=True, slots=True)
class Order:
    """Say what to deploy and how; the platform is the other argument."""

    model: Path
    spec: FunctionSpec
    image: ImageSettings
    wait: bool = True
    wait_timeout_s: float = 600.0
    force: bool = False
    ready_image: str = ""
    """An image that is built already, ``REFERENCE@sha256:…``; "" builds one."""
    push: bool = True
    """Push the image; else it is made for its digest alone, and thrown away."""


def deploy(platform: Platform, order: Order, *, progress: Progress) -> Deployed:
    """Make the order's model serve as ``spec.name`` on ``platform``.

    Raises InvalidInput before anything is touched when the model cannot be served or the platform cannot do what the
    spec asks, and what building the image and the platform raise.
    """
    started = time.perf_counter()
    request, seconds, findings = prepare(platform, order, progress=progress, foresee=True)
    deployed = platform.deploy(request, progress=progress)
    return replace(
        deployed,
        image=deployed.image or request.image,
        warm=request.warm,
        findings=(*findings, *deployed.findings),
        seconds={**seconds, **deployed.seconds, "total": time.perf_counter() - started},
    )


def prepare(
    platform: Platform, order: Order, *, progress: Progress, foresee: bool = False
) -> tuple[DeployRequest, dict[str, float], tuple[Finding, ...]]:
    """Return what the platform is asked, the seconds each stage took, and what building the image told.

    With ``foresee`` the platform is first asked what it would refuse whatever the image is.
    """
    started = time.perf_counter()
    _refuse_foreign(platform, order.spec)
    progress("reading the model")
    package = read_model(order.model)
    kept = keep_warm(platform, order.spec) if order.spec.warm != "off" else Kept(order.spec, None)
    request = DeployRequest(
        kept.spec,
        package,
        wait=order.wait,
        wait_timeout_s=order.wait_timeout_s,
        force=order.force,
        warm=summary(kept.plan) if kept.plan else "",
    )
    read_s = time.perf_counter() - started
    if not platform.capabilities.images:
        return request, {"inspect": read_s}, ()
    if foresee and isinstance(platform, Foresees):
        progress("asking the cluster")
        platform.foresee(kept.spec, force=order.force)
    building = time.perf_counter()
    image, findings = _build(package, order, progress)
    seconds = {"inspect": read_s, "image": time.perf_counter() - building}
    beside = companions(kept, image) if kept.plan else ()
    return replace(request, image=image, companions=beside), seconds, findings


def read_model(model: Path) -> ModelPackage:
    """Open a model and refuse it, with everything that is wrong, when it cannot be served."""
    package = open_model(model)
    errors = [finding for finding in package.findings if finding.severity is Severity.ERROR]
    if not errors:
        return package
    hints = tuple(each.fix for each in errors if each.fix)
    if len(errors) == 1:
        raise InvalidInput(f"{model} cannot be served: {errors[0].message}", hints=hints)
    raise InvalidInput(
        f"{model} cannot be served, for {len(errors)} reasons",
        details="\n".join(each.message for each in errors),
        hints=hints,
    )


def _build(package: ModelPackage, order: Order, progress: Progress) -> tuple[ImageRef, tuple[Finding, ...]]:
    if order.ready_image:
        return _pinned(order.ready_image), ()
    if not order.image.registry:
        raise InvalidInput(
            "no registry given: this platform runs container images, and they are pulled from a registry",
            hints=(
                "mlfn deploy MODEL -r registry.example.com/team",
                "or set MLFN_REGISTRY, or image.registry in mlfn.yaml",
            ),
        )
    if not order.push and order.image.builder != "mlfn":
        raise InvalidInput(
            f"--builder {order.image.builder} cannot tell an image's digest without pushing it",
            hints=("leave --builder out: mlfn's own builder can", "or build first: mlfn build MODEL -r REGISTRY"),
        )
    from tempfile import TemporaryDirectory

    from mlfn.images import build, requested

    with TemporaryDirectory(prefix="mlfn-image-") as folder:
        output = None if order.push else Path(folder) / "layout"
        built = build(package, requested(order.spec.name, order.image, os.environ, output), progress)
    return built.ref, built.findings


def _pinned(reference: str) -> ImageRef:
    from mlfn.images.references import parse_reference

    image = parse_reference(reference)
    if not image.digest:
        raise InvalidInput(
            f"the image {reference} has no digest: a tag may mean another image tomorrow",
            hints=(
                "mlfn build MODEL -r REGISTRY prints the reference with its digest",
                f"--image {image.name}@sha256:…",
            ),
        )
    return image


def _refuse_foreign(platform: Platform, spec: FunctionSpec) -> None:
    """Refuse settings that the platform would ignore: silence would look like consent."""
    blank = FunctionSpec(spec.name)
    known = platform.capabilities.settings | {"name"}
    foreign = [
        each.name
        for each in fields(spec)
        if each.name not in known and getattr(spec, each.name) != getattr(blank, each.name)
    ]
    if foreign:
        options = ", ".join(
            each.option for each in FIELDS.values() if each.section == "function" and each.attribute in foreign
        )
        raise InvalidInput(
            f"the platform {platform.name} has no {options}",
            hints=("leave it out, or choose another platform: --platform knative",),
        )
