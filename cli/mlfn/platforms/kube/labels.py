"""The labels and annotations by which mlfn knows its own objects, and what it keeps in them. Pure.

Status and lists are read from these annotations alone: the cluster is the only store.
"""

from __future__ import annotations

__all__ = [
    "CONTAINER",
    "DIGEST",
    "FIELD_MANAGER",
    "FORMAT",
    "MANAGED",
    "MANAGED_BY",
    "NAME",
    "PART_OF",
    "SIGNATURE",
    "SIZE",
    "SPEC",
    "function_selector",
]

FIELD_MANAGER = "mlfn"
"""The owner of the fields that mlfn applies (server-side apply)."""
MANAGED_BY = "app.kubernetes.io/managed-by"
NAME = "app.kubernetes.io/name"
"""The function."""
PART_OF = "app.kubernetes.io/part-of"
SPEC = "mlfn.dev/spec"
"""JSON of the FunctionSpec."""
SIGNATURE = "mlfn.dev/signature"
DIGEST = "mlfn.dev/model-digest"
FORMAT = "mlfn.dev/format"
SIZE = "mlfn.dev/size"
"""Bytes of the model."""
CONTAINER = "function"
"""The name of the container that runs the function."""
MANAGED = f"{MANAGED_BY}={FIELD_MANAGER}"
"""Selects everything that mlfn manages."""


def function_selector(name: str) -> str:
    """Return the label selector of everything that mlfn manages for one function."""
    return f"{MANAGED},{NAME}={name}"
