"""Write the JSON Schemas of one served model's requests and answers.

Promises: a request that the schemas admit is one that the server accepts, as far as JSON Schema can say it. It can't
tie the length of ``data`` to the product of ``shape``, so a request is described by one alternative for each number of
rows from one to four, with exact shapes and lengths, rather than by a loose form that the server would refuse.

Must not know: paths, HTTP, the service, ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = ["Description", "JsonObject", "fixed_schemas", "inference_schemas", "invocation_schemas", "ref"]

JsonObject = dict[str, Any]

_INTEGER_BITS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64, "UINT8": 8, "UINT16": 16, "UINT32": 32, "UINT64": 64}
_ROWS = (1, 2, 3, 4)
_FLOAT_LIMITS = {"FP16": 65520.0, "FP32": 3.4028235677973366e38, "FP64": None}
"""The first value that rounds to infinity; JSON has none for FP64."""


@dataclass(frozen=True, slots=True)
class Description:
    """Say what is served: the signature, under which name and version, with which contracts and limits.

    ``example`` is an Open Inference request of one row that the model accepts.
    """

    signature: ModelSignature
    name: str
    version: str
    example: Mapping[str, Any]
    openwhisk: bool = False


def ref(schema: str) -> JsonObject:
    """Return a reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def inference_schemas(served: Description) -> JsonObject:
    """Return the request and the answer, typed from the signature."""
    outputs = served.signature.outputs
    output_names = [spec.name for spec in outputs]
    rows = _ROWS if served.signature.batch_axis == 0 else _ROWS[:1]
    return {
        "InferenceRequest": {
            "type": "object",
            "description": "An Open Inference request. A free axis may have any length; a few are listed.",
            "required": ["inputs"],
            "properties": {
                "id": {"type": ["string", "null"], "description": "Comes back in the answer."},
                "parameters": {
                    "type": ["object", "null"],
                    "properties": {"binary_data_output": {"type": "boolean"}},
                    "description": "Come back in the answer.",
                },
                "outputs": _requested(output_names),
            },
            "anyOf": [_request_alternative(served, count) for count in rows],
        },
        "InferenceResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": {"const": served.name},
                "model_version": {"const": served.version},
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "outputs": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"anyOf": [_output_schema(spec) for spec in outputs]},
                },
            },
        },
    }


def _requested(names: Sequence[str]) -> JsonObject:
    """Return the schema of the list of wanted outputs.

    Each may be named once, in any order; JSON Schema can't say that: one alone and the first few are listed.
    """
    parameters = {"type": ["object", "null"], "properties": {"binary_data": {"type": "boolean"}}}

    def entry(*allowed: str) -> JsonObject:
        return {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"enum": list(allowed)}, "parameters": parameters},
        }

    count = len(names)
    first = {"type": "array", "prefixItems": [entry(name) for name in names], "minItems": 1, "maxItems": count}
    return {
        "description": "The outputs wanted, each once, in any order; all of them where absent or empty.",
        "anyOf": [{"type": "array", "items": entry(*names), "maxItems": 1}, first, {"type": "null"}],
    }


def _request_alternative(served: Description, rows: int) -> JsonObject:
    shapes = {tensor["name"]: tensor["shape"] for tensor in served.example["inputs"]}
    tensors = [_input_schema(spec, _with_rows(spec, shapes[spec.name], rows)) for spec in served.signature.inputs]
    return {
        "properties": {
            "inputs": {"type": "array", "prefixItems": tensors, "minItems": len(tensors), "maxItems": len(tensors)}
        }
    }


def _with_rows(spec: TensorSpec, shape: Sequence[int], rows: int) -> list[int]:
    """Return the shape with ``rows`` in place of one, on every axis that carries the batch's symbol."""
    if rows == 1:
        return list(shape)
    batch = spec.symbols[0]
    return [rows if symbol == batch else size for size, symbol in zip(shape, spec.symbols, strict=True)]


def invocation_schemas(served: Description) -> JsonObject:
    """Return what hosted containers take and answer: Open Inference requests, and nested lists by name or by row.

    Nested lists say their shape themselves, so any number of rows can be described where the first axis alone is free.
    Other lengths, and as many rows in each of several inputs, are for the words of the operation.
    """
    inputs = served.signature.inputs
    by_row = all(spec.shape[:1] == (-1,) and -1 not in spec.shape[1:] for spec in inputs)
    forms = [ref("InferenceRequest")]
    if by_row and (len(inputs) == 1 or served.signature.batch_axis == 0):
        row = _closed({spec.name: _nested(spec.datatype, spec.shape[1:]) for spec in inputs})
        if len(inputs) == 1:
            row = row["properties"][inputs[0].name]
            by_name = _closed({inputs[0].name: {"type": "array", "minItems": 1, "items": row}})
            forms.append(_object(inputs=by_name))
        forms.append(_object(instances={"type": "array", "minItems": 1, "items": row}))
    answers = [ref("InferenceResponse"), _object(outputs={"type": "object"}), _object(predictions={"type": "array"})]
    return {"InvocationRequest": {"anyOf": forms}, "InvocationAnswer": {"anyOf": answers}}


def _closed(properties: JsonObject) -> JsonObject:
    return {**_object(**properties), "additionalProperties": False}


def _nested(datatype: str, shape: Sequence[int]) -> JsonObject:
    """Return the schema of lists nested as ``shape``, at most 16 deep in any model."""
    schema = _item(datatype)
    for size in reversed(shape):
        schema = {"type": "array", "minItems": size, "maxItems": size, "items": schema}
    return schema


def _input_schema(spec: TensorSpec, shape: Sequence[int]) -> JsonObject:
    length = prod(shape)
    item = _item(spec.datatype)
    data: JsonObject = {"type": "array", "items": item, "minItems": length, "maxItems": length}
    if not shape:
        data = {"anyOf": [item, data]}
    return {
        "type": "object",
        "description": f"Shape {list(spec.shape)}; `data` is flat, in row-major order.",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": spec.datatype},
            "shape": {"const": list(shape)},
            "data": data,
        },
    }


def _output_schema(spec: TensorSpec) -> JsonObject:
    items: JsonObject = _item(spec.datatype)
    if spec.datatype in _FLOAT_LIMITS:
        items = {"type": ["number", "null"], "description": "null stands for NaN and the infinities."}
    count = len(spec.shape)
    shape: JsonObject = {"const": list(spec.shape)}
    if -1 in spec.shape:
        lengths: JsonObject = {"type": "integer", "minimum": 0}
        shape = {"type": "array", "items": lengths, "minItems": count, "maxItems": count}
    shape["description"] = f"{list(spec.shape)}; -1 is any length."
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": spec.datatype},
            "shape": shape,
            "data": {"type": "array", "items": items},
        },
    }


def _item(datatype: str) -> JsonObject:
    """Return the schema of one element; the bounds are those of the datatype."""
    if datatype == "BOOL":
        return {"type": "boolean"}
    if datatype == "BYTES":
        return {"type": "string"}
    if datatype in _FLOAT_LIMITS:
        number: JsonObject = {"type": ["number", "null"], "description": "null stands for NaN."}
        limit = _FLOAT_LIMITS[datatype]
        return number if limit is None else {**number, "exclusiveMinimum": -limit, "exclusiveMaximum": limit}
    bits = _INTEGER_BITS[datatype]
    if datatype.startswith("U"):
        return {"type": "integer", "minimum": 0, "maximum": 2**bits - 1}
    return {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}


def fixed_schemas() -> JsonObject:
    """Return the schemas that don't depend on the model."""
    word: JsonObject = {"type": "string"}
    filled: JsonObject = {"type": "string", "minLength": 1}
    words: JsonObject = {"type": "array", "items": word}
    tensors: JsonObject = {"type": "array", "items": _object(name=word, datatype=word, shape={"type": "array"})}
    event = _object(specversion={"enum": ["1.0"]}, id=filled, source=filled, type=filled)
    asked = {"data": ref("InferenceRequest"), "datacontenttype": {"enum": ["application/json", None]}}
    return {
        "Error": _object(error=word),
        "Object": {"type": "object"},
        "ServerMetadata": _object(name=word, version=word, extensions=words),
        "ModelMetadata": _object(name=word, versions=words, platform=word, inputs=tensors, outputs=tensors),
        "Event": {
            **event,
            "required": [*event["required"], "data"],
            "properties": {**event["properties"], **asked},
            "additionalProperties": {
                "type": ["string", "boolean", "integer", "null"],
                "minimum": -(2**31),
                "maximum": 2**31 - 1,
            },
        },
        "EventAnswer": {**event, "properties": {**event["properties"], "data": ref("InferenceResponse")}},
        "OpenWhiskInit": {"type": "object", "properties": {"value": {"type": "object"}}},
        "OpenWhiskOk": _object(ok={"const": True}),
        "OpenWhiskRun": {
            "description": 'An activation: {"value": …} with an Open Inference request or inputs by name; what else '
            "comes is answered too, with 200 and `error`, because only 200 keeps the container."
        },
        "OpenWhiskAnswer": {"anyOf": [ref("InferenceResponse"), {"type": "object", "required": ["error"]}]},
    }


def _object(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "required": list(properties), "properties": properties}
