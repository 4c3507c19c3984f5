"""What mlfn writes on its objects about a function, and how it reads it back. Pure.

The cluster is the only store: labels say whose an object is, annotations hold the settings, the model's digest, format,
size and signature, so that any machine can list and describe what another one deployed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from mlfn.errors import MlfnError
from mlfn.function import FunctionSpec, ModelPackage
from mlfn.platforms.kube.kinds import Object
from mlfn.platforms.kube.labels import DIGEST, FIELD_MANAGER, FORMAT, MANAGED_BY, NAME, SIGNATURE, SIZE, SPEC
from mlfn_runtime.signature import ModelSignature

__all__ = [
    "function_annotations",
    "function_labels",
    "is_managed",
    "own_annotations",
    "read_digest",
    "read_format",
    "read_signature",
    "read_spec",
]


def function_labels(spec: FunctionSpec) -> dict[str, str]:
    """Return the labels of everything that belongs to a function: the user's own, and mlfn's, which win."""
    return {**spec.labels, NAME: spec.name, MANAGED_BY: FIELD_MANAGER}


def function_annotations(spec: FunctionSpec, package: ModelPackage) -> dict[str, str]:
    """Return the annotations that mlfn reads back."""
    return {
        SPEC: _compact(asdict(spec)),
        SIGNATURE: _compact(package.signature.as_record()),
        DIGEST: package.digest,
        FORMAT: package.format,
        SIZE: str(package.size_bytes),
    }


def own_annotations(thing: Object) -> Mapping[str, str]:
    """Return an object's annotations."""
    found: Mapping[str, str] = thing["metadata"].get("annotations") or {}
    return found


def is_managed(thing: Object) -> bool:
    """Say whether mlfn manages an object."""
    labels = thing["metadata"].get("labels") or {}
    return bool(labels.get(MANAGED_BY) == FIELD_MANAGER)


def read_spec(thing: Object) -> FunctionSpec:
    """Return the settings that an object carries; what a newer mlfn wrote besides is left out."""
    value = _read(thing, SPEC)
    known = {each.name for each in fields(FunctionSpec)}
    return FunctionSpec(**{key: item for key, item in value.items() if key in known})


def read_signature(thing: Object) -> ModelSignature:
    """Return the model's signature."""
    return ModelSignature.from_record(_read(thing, SIGNATURE))


def read_digest(thing: Object) -> str:
    """Return the model's digest, "" where there is none."""
    return own_annotations(thing).get(DIGEST, "")


def read_format(thing: Object) -> str:
    """Return the model's format, "" where there is none."""
    return own_annotations(thing).get(FORMAT, "")


def _read(thing: Object, key: str) -> Any:
    text = own_annotations(thing).get(key, "")
    name = thing["metadata"].get("name", "")
    try:
        return json.loads(text)
    except ValueError as error:
        raise MlfnError(
            f"{thing.get('kind', 'the object')} {name} has no readable annotation {key}, which mlfn writes: {text!r}",
            hints=(f"deploy it again: mlfn deploy MODEL --name {name} --force",),
        ) from error


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
