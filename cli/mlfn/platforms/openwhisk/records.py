"""What mlfn writes on its actions, and how it reads it back. Pure.

A function ``NAME`` is a sequence of one step, its current revision; revisions are actions ``NAME@00001``, never changed
once they are there. So an update orphans no container of another revision, and going back is pointing the sequence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from mlfn.errors import MlfnError
from mlfn.function import FunctionSpec, ImageRef, ModelPackage
from mlfn_runtime.signature import ModelSignature

__all__ = ["annotations_of", "is_managed", "next_revision", "read_signature", "read_spec", "revision_annotations"]

MANAGED = "mlfn/managed-by"
SPEC = "mlfn/spec"
SIGNATURE = "mlfn/signature"
DIGEST = "mlfn/model-digest"
FORMAT = "mlfn/format"
IMAGE = "mlfn/image"
CREATED = "mlfn/created"


def revision_annotations(spec: FunctionSpec, package: ModelPackage, image: ImageRef, now_s: float) -> dict[str, Any]:
    """Return the annotations of a revision's action; OpenWhisk drops an image's digest, so it is kept here."""
    return {
        **spec.annotations,
        MANAGED: "mlfn",
        SPEC: asdict(spec),
        SIGNATURE: package.signature.as_record(),
        DIGEST: package.digest,
        FORMAT: package.format,
        IMAGE: image.pinned,
        CREATED: round(now_s, 3),
    }


def annotations_of(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return an action's annotations by key."""
    return {item["key"]: item.get("value") for item in action.get("annotations", ())}


def is_managed(action: Mapping[str, Any]) -> bool:
    """Say whether mlfn manages an action."""
    return annotations_of(action).get(MANAGED) == "mlfn"


def read_spec(action: Mapping[str, Any]) -> FunctionSpec:
    """Return the settings that a revision carries; what a newer mlfn wrote besides is left out."""
    value = _read(action, SPEC)
    known = {each.name for each in fields(FunctionSpec)}
    return FunctionSpec(**{key: item for key, item in value.items() if key in known})


def read_signature(action: Mapping[str, Any]) -> ModelSignature:
    """Return the signature of a revision's model."""
    return ModelSignature.from_record(_read(action, SIGNATURE))


def _read(action: Mapping[str, Any], key: str) -> Any:
    value = annotations_of(action).get(key)
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        name = action.get("name", "")
        raise MlfnError(
            f"the action {name} has no readable annotation {key}, which mlfn writes: {value!r}",
            hints=(f"deploy it again: mlfn deploy MODEL --name {str(name).partition('@')[0]} --force",),
        )
    return value


def next_revision(name: str, revisions: Mapping[str, object]) -> str:
    """Return the name of the revision after all that are there."""
    numbers = [int(each.rpartition("@")[2]) for each in revisions if each.rpartition("@")[2].isdigit()]
    return f"{name}@{max(numbers, default=0) + 1:05d}"
