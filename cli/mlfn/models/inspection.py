"""What ``mlfn inspect`` tells: the signature as JSON, and a request that the model should take."""

from __future__ import annotations

from mlfn.errors import InvalidInput
from mlfn.function import ModelPackage

__all__ = ["SCHEMA", "example_body", "inspection_json"]

SCHEMA = "mlfn.signature/v1"


def inspection_json(package: ModelPackage) -> dict[str, object]:
    """Return the document of ``mlfn inspect -o json``."""
    return {
        "schema": SCHEMA,
        "format": package.format,
        "digest": package.digest,
        "size_bytes": package.size_bytes,
        "opsets": dict(package.opsets),
        "inputs": [spec.as_json() for spec in package.signature.inputs],
        "outputs": [spec.as_json() for spec in package.signature.outputs],
        "batch_axis": package.signature.batch_axis,
        "findings": [each.as_json() for each in package.findings],
    }


def example_body(package: ModelPackage) -> dict[str, object]:
    """Return an Open Inference request made from the signature alone. Raises InvalidInput for what cannot be served."""
    wrong = next((each for each in package.errors if each.what in ("unsupported-type", "unknown-rank")), None)
    if wrong is not None:
        raise InvalidInput(f"no example can be made: {wrong.message}", hints=(wrong.fix,))
    # Imported here: it needs numpy (0.1 s), which reading a model does not.
    from mlfn_runtime.synthesis import example_body as synthesised

    return synthesised(package.signature)
