"""The Open Inference Protocol's request and response bodies, JSON and with binary tensors, to and from arrays.

Knows the signature of the model and nothing of HTTP but the one number that the binary extension sends in a header:
how many bytes of the body are JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from mlfn_runtime.errors import RequestError
from mlfn_runtime.requests import InferenceRequest, InferenceResult
from mlfn_runtime.tensors import DTYPES, from_binary, from_json, to_binary, to_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = ["OpenInferenceCodec", "parse_json"]

_EMPTY: frozenset[str] = frozenset()
_MOST_OPENINGS = 256
_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def parse_json(text: bytes | memoryview) -> Any:
    """Parse JSON, or refuse it with the parser's own words."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"expected a JSON body, got something else: {error}") from None


class OpenInferenceCodec:
    """Read and write the bodies of one model."""

    def __init__(self, signature: ModelSignature, name: str, version: str) -> None:
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._openings: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._document_opening = orjson.dumps({"model_name": name, "model_version": version})[:-1] + b","
        self._datatypes = {spec.name: spec.datatype for spec in signature.outputs}

    def decode(self, body: bytes, json_length: int | None = None) -> InferenceRequest:
        """Read a request; ``json_length`` is given when binary tensors follow the JSON."""
        if json_length is None:
            return self.decode_document(parse_json(body))
        if not 0 <= json_length <= len(body):
            expected = f"a length up to the body's {len(body)} bytes"
            raise RequestError(400, f"Inference-Header-Content-Length: expected {expected}, got {json_length}")
        view = memoryview(body)
        return self.decode_document(parse_json(view[:json_length]), view[json_length:])

    def decode_document(self, document: Any, binary: memoryview | None = None) -> InferenceRequest:
        """Read a request that is parsed JSON, followed by ``binary`` tensors."""
        if type(document) is not dict:
            raise RequestError(400, 'expected a JSON object with "inputs", got another JSON value')
        entries = document.get("inputs")
        if type(entries) is not list:
            raise RequestError(400, '"inputs": expected a list of tensors, got ' + _absent(entries))
        arrays: dict[str, NDArray[Any]] = {}
        rest = binary
        for entry in entries:
            spec = self._spec(entry, arrays)
            shape = _shape(spec, entry)
            parameters = entry.get("parameters")
            if parameters is not None:
                size = _binary_size(spec.name, parameters)
                if size is not None:
                    raw, rest = _take(spec.name, entry, size, rest)
                    arrays[spec.name] = from_binary(spec.name, spec.datatype, shape, raw)
                    continue
            if "data" not in entry:
                raise RequestError(400, f'input "{spec.name}": expected "data" or a binary_data_size, got neither')
            arrays[spec.name] = from_json(spec.name, spec.datatype, shape, entry["data"])
        if rest:
            raise RequestError(400, f"binary tensors: expected no bytes after the last, got {len(rest)}")
        if len(arrays) != len(self._inputs):
            self.refuse_missing(arrays)
        return self._request(document, arrays)

    def _spec(self, entry: Any, seen: dict[str, NDArray[Any]]) -> TensorSpec:
        if type(entry) is not dict:
            raise RequestError(400, '"inputs": expected tensors (objects), got another JSON value')
        name = entry.get("name")
        if type(name) is not str:
            raise RequestError(400, f"input: expected a name (one of {_listed(self._inputs)}), got {_absent(name)}")
        spec = self._inputs.get(name)
        if spec is None:
            raise RequestError(400, f'input "{_short(name)}": expected one of {_listed(self._inputs)}, got this name')
        if name in seen:
            raise RequestError(400, f'input "{name}": expected once, got twice')
        datatype = entry.get("datatype")
        if datatype != spec.datatype:
            got = f'"{_short(datatype)}"' if type(datatype) is str else _absent(datatype)
            if type(datatype) is str and datatype not in DTYPES:
                got += ", which is no datatype of the protocol"
            raise RequestError(400, f'input "{name}": expected datatype {spec.datatype}, got {got}')
        return spec

    def refuse_missing(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Refuse a request without one of the model's inputs."""
        missing = [name for name in self._inputs if name not in arrays]
        if missing:
            got = _listed(arrays) if arrays else "none"
            raise RequestError(400, f"input {_listed(missing)}: expected {_listed(self._inputs)}, got {got}")

    def _request(self, document: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> InferenceRequest:
        identifier = document.get("id")
        if identifier is not None and type(identifier) is not str:
            raise RequestError(400, f'"id": expected a string, got {_absent(identifier)}')
        request = InferenceRequest(arrays, id=identifier)
        parameters = document.get("parameters")
        entries = document.get("outputs")
        if parameters is not None or entries is not None:
            self._wanted(request, parameters, entries)
        return request

    def _wanted(self, request: InferenceRequest, parameters: Any, entries: Any) -> None:
        everything_binary = False
        if parameters is not None:
            if type(parameters) is not dict:
                raise RequestError(400, f'"parameters": expected an object, got {_absent(parameters)}')
            everything_binary = _flag('"parameters"', parameters, "binary_data_output")
            request.parameters = {key: value for key, value in parameters.items() if key != "binary_data_output"}
            try:
                orjson.dumps(request.parameters)
            except orjson.JSONEncodeError:  # read 1024 levels deep, written 254
                raise RequestError(400, '"parameters": expected at most 250 levels, got more') from None
        if not entries:  # absent or empty: all of them
            if entries is not None and type(entries) is not list:
                raise RequestError(400, f'"outputs": expected a list, got {_absent(entries)}')
            request.binary = frozenset(self._outputs) if everything_binary else _EMPTY
            return
        if type(entries) is not list:
            raise RequestError(400, f'"outputs": expected a list, got {_absent(entries)}')
        names: list[str] = []
        binary: set[str] = set()
        for entry in entries:
            name, wants_binary = self._output(entry, default=everything_binary)
            if name in names:
                raise RequestError(400, f'output "{name}": expected once, got twice')
            names.append(name)
            if wants_binary:
                binary.add(name)
        request.outputs = tuple(names)
        request.binary = frozenset(binary)

    def _output(self, entry: Any, *, default: bool) -> tuple[str, bool]:
        name = entry.get("name") if type(entry) is dict else None
        if type(name) is not str or name not in self._outputs:
            got = f'"{_short(name)}"' if type(name) is str else _absent(name)
            raise RequestError(400, f"output {got}: expected one of {_listed(self._outputs)}, got this name")
        parameters = entry.get("parameters")
        if parameters is None:
            return name, default
        if type(parameters) is not dict:
            raise RequestError(400, f'output "{name}": parameters: expected an object, got {_absent(parameters)}')
        if parameters.get("classification"):
            raise RequestError(400, f'output "{name}": expected no "classification" (not offered), got one')
        return name, _flag(f'output "{name}"', parameters, "binary_data", default=default)

    def encode(self, request: InferenceRequest, result: InferenceResult) -> tuple[bytes, int | None]:
        """Write a response; the second value is the length of its JSON when binary tensors follow."""
        outputs = result.outputs
        names = request.outputs or self._outputs
        tails: list[bytes] = []
        tensors: list[bytes] = []
        for name in names:
            array = outputs[name]
            if name in request.binary:
                tails.append(to_binary(array))
                data = b'"parameters":{"binary_data_size":%d}}' % len(tails[-1])
            else:
                data = b'"data":%b}' % orjson.dumps(to_json(array), option=_NUMPY)
            tensors.append(self._opening(name, array.shape) + data)
        own = b""
        if request.id is not None:
            own = b'"id":%b,' % orjson.dumps(request.id)
        if request.parameters:
            own += b'"parameters":%b,' % orjson.dumps(request.parameters)
        text = b'%b%b"outputs":[%b]}' % (self._document_opening, own, b",".join(tensors))
        if not tails:
            return text, None
        return b"".join((text, *tails)), len(text)

    def _opening(self, name: str, shape: tuple[int, ...]) -> bytes:
        """Return the beginning of an output's JSON, kept by shape: shapes repeat (0.6 us of 1.5 for a small answer)."""
        opening = self._openings.get((name, shape))
        if opening is None:
            described = {"name": name, "datatype": self._datatypes[name], "shape": shape}
            opening = orjson.dumps(described)[:-1] + b","
            if len(self._openings) < _MOST_OPENINGS:
                self._openings[name, shape] = opening
        return opening


def _shape(spec: TensorSpec, entry: dict[str, Any]) -> tuple[int, ...]:
    shape = entry.get("shape")
    if type(shape) is list:
        expected = spec.shape
        if len(shape) == len(expected):
            for length, fixed in zip(shape, expected, strict=True):
                if type(length) is not int or length < 0 or (length != fixed and fixed != -1):
                    break
            else:
                return tuple(shape)
    flat = type(shape) is list and not any(isinstance(length, list | dict) for length in shape)
    got = _short(orjson.dumps(shape).decode()) if flat else _absent(shape)
    raise RequestError(400, f'input "{spec.name}": expected shape {list(spec.shape)}, got {got}')


def _binary_size(name: str, parameters: Any) -> int | None:
    if type(parameters) is not dict:
        raise RequestError(400, f'input "{name}": parameters: expected an object, got {_absent(parameters)}')
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise RequestError(400, f'input "{name}": binary_data_size: expected a count of bytes, got {_absent(size)}')
    return size


def _take(name: str, entry: dict[str, Any], size: int, rest: memoryview | None) -> tuple[memoryview, memoryview]:
    if "data" in entry:
        raise RequestError(400, f'input "{name}": expected "data" or a binary_data_size, got both')
    if rest is None:
        expected = "the header Inference-Header-Content-Length with a binary_data_size"
        raise RequestError(400, f'input "{name}": expected {expected}, got none')
    if size > len(rest):
        raise RequestError(400, f'input "{name}": expected {size} bytes of binary data, got {len(rest)}')
    return rest[:size], rest[size:]


def _flag(where: str, parameters: dict[str, Any], key: str, *, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if type(value) is not bool:
        raise RequestError(400, f"{where}: {key}: expected true or false, got {_absent(value)}")
    return value


def _listed(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names) or "none"


def _short(text: str) -> str:
    return text if len(text) <= 64 else text[:61] + "..."


def _absent(value: object) -> str:
    """Put a value of the wrong kind into a few words, without writing out a whole list."""
    if value is None:
        return "none"
    if type(value) is list:
        return "a list"
    if type(value) is dict:
        return "an object"
    return _short(repr(value))
