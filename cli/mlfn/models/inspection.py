"""What ``mlfn inspect`` tells: the signature as JSON, and a request that the model should take."""

from __future__ import annotations

from mlfn.errors import InvalidInput
from mlfn.function import ModelPackage
from mlfn.models.onnx_support import first_taken
from mlfn.models.opening import LOADED_BYTES

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
        **package.signature.as_json(),
        "findings": [each.as_json() for each in package.findings],
    }


def example_body(package: ModelPackage) -> dict[str, object]:
    """Return an Open Inference request that the model takes, as far as can be found out.

    The signature alone decides where all its lengths are fixed. Where they are free the model is asked, for audio wants
    other lengths than text: it is loaded and run on one row, unless it is large. Raises InvalidInput for what cannot be
    served.
    """
    wrong = next((each for each in package.errors if each.what in ("unsupported-type", "unknown-rank")), None)
    if wrong is not None:
        raise InvalidInput(f"no example can be made: {wrong.message}", hints=(wrong.fix,))
    # Imported here: it needs numpy (0.1 s), which reading a model does not.
    from mlfn_runtime import synthesis

    by_shapes: dict[object, synthesis.Lengths] = {}
    for lengths in synthesis.LENGTHS:
        arrays = synthesis.synthesise(package.signature, lengths=lengths)
        by_shapes.setdefault(tuple(array.shape for array in arrays.values()), lengths)
    candidates = tuple(by_shapes.values())
    taken = None
    if len(candidates) > 1 and not package.errors and package.size_bytes <= LOADED_BYTES:
        taken = first_taken(package.root / package.entry, candidates)
    return synthesis.example_body(package.signature, taken or candidates[0])
