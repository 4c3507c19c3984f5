"""What a deploy would do, for Git: a wskdeploy manifest, and the same as commands of `wsk`. Pure."""

from __future__ import annotations

import json
from typing import Any

from mlfn.errors import InvalidInput
from mlfn.platforms import DeployRequest, Project
from mlfn.platforms.openwhisk.deploying import Options, text_of
from mlfn.platforms.openwhisk.limits import ActionLimits, action_limits
from mlfn.platforms.openwhisk.records import CREATED, MANAGED, revision_annotations

__all__ = ["project"]

_NAMED_BY = 12
"""Characters of the image's tag that name a revision: nobody is asked for the numbers that are taken."""


def project(request: DeployRequest, options: Options) -> Project:
    """Return the manifest and the commands. The revision is named by its image, so that the same gives the same."""
    image, spec = request.image, request.spec
    assert image is not None  # capabilities.images
    if not image.tag:
        raise InvalidInput(
            f"the image {image.pinned} has no tag, and OpenWhisk drops digests",
            hints=("name it with a tag of its content: REPOSITORY:TAG@sha256:…",),
        )
    revision = f"{spec.name}@{image.tag[:_NAMED_BY]}"
    limits = action_limits(spec, options.logs_mb, {})
    annotations = revision_annotations(spec, request.package, image, 0.0)
    del annotations[CREATED]
    return Project(
        spec.name,
        _manifest(request, revision, (limits, annotations), options),
        _commands(request, revision, (limits, annotations), options),
    )


def _manifest(
    request: DeployRequest, revision: str, made: tuple[ActionLimits, dict[str, Any]], options: Options
) -> dict[str, Any]:
    limits, annotations = made
    assert request.image is not None
    action = {
        "docker": request.image.tagged,
        "limits": {
            "timeout": limits.timeout_ms,
            "memorySize": limits.memory_mb,
            "logSize": limits.logs_mb,
            "concurrentActivations": limits.concurrency,
        },
        "annotations": {key: json.loads(json.dumps(value)) for key, value in annotations.items()},
    }
    sequence = {"actions": revision, "web": options.public, "annotations": {MANAGED: "mlfn"}}
    return {"packages": {"default": {"actions": {revision: action}, "sequences": {request.spec.name: sequence}}}}


def _commands(
    request: DeployRequest, revision: str, made: tuple[ActionLimits, dict[str, Any]], options: Options
) -> tuple[tuple[str, ...], ...]:
    limits, annotations = made
    assert request.image is not None
    marks = [word for key, value in annotations.items() for word in ("--annotation", key, text_of(value))]
    web = ("--web", "true" if options.public else "false")
    return (
        ("action", "update", revision, "--docker", request.image.tagged, *limits.flags, *marks),
        ("action", "invoke", revision, "--blocking", "--result", "--param", "mlfn_ping", "true"),
        ("action", "update", request.spec.name, "--sequence", revision, "--annotation", MANAGED, "mlfn", *web),
    )
