"""What a model takes and gives, in the words of the Open Inference Protocol.

Pure values: no numpy, no ONNX. The deployer reads a signature from the file, the runtime from the loaded session;
both meet here, and a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["DATATYPE_OF_ONNX", "DATATYPE_OF_ORT", "ITEM_SIZES", "ModelSignature", "TensorSpec"]

ITEM_SIZES: dict[str, int] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
    "BYTES": 0,
}
"""Bytes of one element for each datatype of the Open Inference Protocol; 0 where elements vary in length."""

DATATYPE_OF_ORT: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}
"""ONNX Runtime's element names (the T of ``tensor(T)``) to datatypes."""

DATATYPE_OF_ONNX: dict[int, str] = {
    9: "BOOL",
    2: "UINT8",
    4: "UINT16",
    12: "UINT32",
    13: "UINT64",
    3: "INT8",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    10: "FP16",
    1: "FP32",
    11: "FP64",
    8: "BYTES",
}
"""ONNX's ``TensorProto.DataType`` numbers to datatypes (onnx.proto3)."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Describe one input or output tensor.

    ``shape`` holds -1 for a free axis; ``symbols`` holds, for each axis, the name that the model gives to it ("" where
    it has none): two axes of the same name have the same length in every run. ``keys`` is set for an output that the
    model gives as a sequence of maps (ZipMap) and that is served as an array with one column per key; it is ``()``
    where the keys are known only after the first run.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    symbols: tuple[str, ...] = ()
    keys: tuple[int | str, ...] | None = None

    def as_json(self) -> dict[str, object]:
        """Return the tensor as Open Inference metadata: name, datatype, shape."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    @classmethod
    def from_record(cls, value: Mapping[str, Any]) -> TensorSpec:
        """Read a tensor of :meth:`ModelSignature.as_record`."""
        keys = value["keys"]
        return cls(
            value["name"],
            value["datatype"],
            tuple(value["shape"]),
            tuple(value["symbols"]),
            None if keys is None else tuple(keys),
        )


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """Describe a model's inputs and outputs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batch_axis(self) -> int | None:
        """Return 0 when the first axis carries one symbol across all inputs and outputs, else None.

        It is the first half of the proof that requests can be merged; the second is a run at start-up
        (docs/explanation/design.md, section 4).
        """
        firsts = {
            spec.symbols[0] if spec.symbols and spec.shape and spec.shape[0] == -1 else ""
            for spec in (*self.inputs, *self.outputs)
        }
        return 0 if len(firsts) == 1 and "" not in firsts else None

    def as_json(self) -> dict[str, object]:
        """Return the signature as it is told: Open Inference metadata and the batch axis."""
        return {
            "inputs": [spec.as_json() for spec in self.inputs],
            "outputs": [spec.as_json() for spec in self.outputs],
            "batch_axis": self.batch_axis,
        }

    def as_record(self) -> dict[str, Any]:
        """Return the whole signature, symbols and keys included, as it is kept: in a database, in an annotation."""
        return asdict(self)

    @classmethod
    def from_record(cls, value: Mapping[str, Any]) -> ModelSignature:
        """Read what :meth:`as_record` gave, once through JSON or not."""
        return cls(
            tuple(map(TensorSpec.from_record, value["inputs"])), tuple(map(TensorSpec.from_record, value["outputs"]))
        )
