"""Arrays to the wire and back, for every datatype; and what is refused, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlfn_runtime.errors import RequestError
from mlfn_runtime.open_inference import OpenInferenceCodec
from mlfn_runtime.requests import InferenceRequest, InferenceResult
from mlfn_runtime.signature import ModelSignature, TensorSpec
from mlfn_runtime.tensors import DTYPES, from_binary, from_json, from_nested, to_binary, to_json, to_nested

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


def elements(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BYTES":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    if datatype.startswith("FP"):
        largest = float(np.finfo(DTYPES[datatype]).max)
        floats = st.floats(-largest, largest)
        return floats.map(lambda value: float(np.array(value, DTYPES[datatype])))
    limits = np.iinfo(DTYPES[datatype])
    return st.integers(int(limits.min), int(limits.max))


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, NDArray[Any]]:
    datatype = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(SHAPES)
    count = int(np.prod(shape))
    flat = np.empty(count, DTYPES[datatype])
    flat[:] = draw(st.lists(elements(datatype), min_size=count, max_size=count))
    return datatype, flat.reshape(shape)


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and one.dtype.kind == other.dtype.kind and one.tolist() == other.tolist()


@given(tensors())
def test_binary_round_trip(tensor: tuple[str, NDArray[Any]]) -> None:
    datatype, array = tensor
    assert same(from_binary("X", datatype, array.shape, memoryview(to_binary(array))), array)


@given(tensors())
def test_json_round_trip_flat_and_nested(tensor: tuple[str, NDArray[Any]]) -> None:
    datatype, array = tensor
    flat = orjson.loads(orjson.dumps(to_json(array), option=orjson.OPT_SERIALIZE_NUMPY))
    assert same(from_json("X", datatype, array.shape, flat), array)
    nested = orjson.loads(orjson.dumps(to_nested(array)))
    assert same(from_json("X", datatype, array.shape, nested), array)
    if array.size:  # empty nested lists do not tell their inner axes
        assert same(from_nested(TensorSpec("X", datatype, array.shape), nested), array)


@given(st.lists(tensors(), min_size=1, max_size=3), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_whole_bodies_round_trip(drawn: list[tuple[str, NDArray[Any]]], binary_in: bool, binary_out: bool) -> None:
    """An answer is a request again, but for the names of its lists: what is encoded decodes to the same."""
    specs = tuple(TensorSpec(f"t{index}", datatype, array.shape) for index, (datatype, array) in enumerate(drawn))
    codec = OpenInferenceCodec(ModelSignature(specs, specs), "m", "1")
    arrays = {spec.name: array for spec, (_, array) in zip(specs, drawn, strict=True)}
    names = frozenset(arrays) if binary_in or binary_out else frozenset[str]()
    asked = InferenceRequest(arrays, id="7", parameters={"a": 1}, binary=names)
    body, length = codec.encode(asked, InferenceResult(arrays))
    text = body if length is None else body[:length]
    again = text.replace(b'"outputs":', b'"inputs":', 1)
    tail = b"" if length is None else body[length:]
    request = codec.decode(again + tail, None if length is None else len(again))
    assert request.id == "7"
    assert request.parameters == {"a": 1}
    assert all(same(request.inputs[name], array) for name, array in arrays.items())


def test_floats_that_json_has_no_word_for_are_null_both_ways() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.5], np.float32)
    text = orjson.dumps(to_json(odd), option=orjson.OPT_SERIALIZE_NUMPY)
    assert text == b"[null,null,null,1.5]"
    read = from_json("X", "FP32", (4,), orjson.loads(text))
    assert np.isnan(read[:3]).all()
    assert read[3] == 1.5
    assert from_binary("X", "FP32", (4,), memoryview(to_binary(odd))).tobytes() == odd.tobytes()


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "words"),
    [
        ("FP32", (2,), [1.0], "expected 2 elements (shape [2]), got 1"),
        ("FP32", (2,), [1.0, "2"], "expected FP32 elements, got a string ('2')"),
        ("FP32", (1,), [1e39], "expected FP32 elements from -3.40282e+38 to 3.40282e+38, got 1e+39"),
        ("FP16", (1,), [70000], "expected FP16 elements from -65504 to 65504"),
        ("FP64", (1,), [True], "expected FP64 elements, got a boolean"),
        ("FP64", (), "x", "got a string"),
        ("FP32", (2,), 5, "expected a list, got an integer (5)"),
        ("INT8", (1,), [128], "expected INT8 elements from -128 to 127, got 128"),
        ("UINT8", (2,), [0, -1], "expected UINT8 elements from 0 to 255, got -1"),
        ("INT64", (1,), [2**63], "expected INT64 elements"),
        ("INT32", (1,), [1.5], "expected INT32 elements, got a number (1.5)"),
        ("INT32", (1,), [None], "expected INT32 elements, got null"),
        ("BOOL", (1,), [1], "expected BOOL elements, got an integer (1)"),
        ("BYTES", (1,), [1], "expected BYTES elements (JSON strings), got an integer (1)"),
        ("FP32", (2, 2), [[1, 2], [3]], "expected lists of equal length at each depth, got ragged ones"),
        ("FP32", (2, 2), [[1, 2], 3], "expected lists of equal length at each depth, got ragged ones"),
        (
            "FP32",
            (2, 3),
            [[1, 2], [3, 4], [5, 6]],
            "expected flat data or data nested as [2, 3], got nested as [3, 2]",
        ),
        ("FP32", (1,), [{}], "expected FP32 elements, got an object"),
        ("FP32", (2**63, 0), [], "expected axes of 65536 at most in a tensor without elements"),
        ("BYTES", (0, 2**62), [], "expected axes of 65536 at most in a tensor without elements"),
    ],
)
def test_refusals_in_json_name_the_input_and_both_sides(
    datatype: str, shape: tuple[int, ...], data: object, words: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        from_json("X", datatype, shape, data)
    assert refusal.value.status == 400
    assert refusal.value.message.startswith('input "X": ')
    assert words in refusal.value.message


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "words"),
    [
        ("FP32", (2,), bytes(7), "expected 8 bytes (FP32 of shape [2]), got 7"),
        ("BOOL", (1,), b"\x02", "expected BOOL elements of one byte, 0 or 1"),
        ("BYTES", (1,), b"\x05\x00\x00\x00ab", "4-byte little-endian length"),
        ("BYTES", (1,), b"\x01\x00", "4-byte little-endian length"),
        ("BYTES", (1,), b"\x01\x00\x00\x00\xff", "expected UTF-8 text, got other bytes in element 0"),
        ("BYTES", (2,), b"\x01\x00\x00\x00a", "expected 2 elements"),
        ("INT8", (2**62, 0), b"", "expected axes of 65536 at most in a tensor without elements"),
    ],
)
def test_refusals_of_binary_tensors(datatype: str, shape: tuple[int, ...], raw: bytes, words: str) -> None:
    with pytest.raises(RequestError, match="input") as refusal:
        from_binary("X", datatype, shape, memoryview(raw))
    assert words in refusal.value.message


def test_large_unsigned_integers_keep_their_value() -> None:
    values = [2**64 - 1, 1, 2**63]
    assert from_json("X", "UINT64", (3,), values).tolist() == values


SIGNATURE = ModelSignature(
    (TensorSpec("A", "FP32", (-1, 2)), TensorSpec("B", "INT64", ())), (TensorSpec("Y", "FP32", (-1,)),)
)
A = {"name": "A", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
B = {"name": "B", "datatype": "INT64", "shape": [], "data": [3]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "expected a JSON object"),
        ({}, '"inputs": expected a list of tensors, got none'),
        ({"inputs": [A]}, 'input "B": expected "A", "B", got "A"'),
        ({"inputs": []}, 'input "A", "B": expected "A", "B", got none'),
        ({"inputs": [A, A, B]}, 'input "A": expected once, got twice'),
        ({"inputs": [A, {**B, "name": "C"}]}, 'input "C": expected one of "A", "B"'),
        ({"inputs": [A, {**B, "name": None}]}, "expected a name"),
        ({"inputs": [A, 5]}, "expected tensors (objects)"),
        ({"inputs": [{**A, "datatype": "FP64"}, B]}, 'input "A": expected datatype FP32, got "FP64"'),
        ({"inputs": [{**A, "datatype": "FP99"}, B]}, "which is no datatype of the protocol"),
        ({"inputs": [{**A, "shape": [1, 3]}, B]}, 'input "A": expected shape [-1, 2], got [1,3]'),
        ({"inputs": [{**A, "shape": [True, 2]}, B]}, "expected shape [-1, 2], got [true,2]"),
        ({"inputs": [{**A, "shape": [-1, 2]}, B]}, "expected shape"),
        ({"inputs": [{**A, "shape": [1]}, B]}, "expected shape"),
        ({"inputs": [{"name": "A", "datatype": "FP32", "shape": [1, 2]}, B]}, 'expected "data"'),
        ({"inputs": [{**A, "parameters": {"binary_data_size": 8}}, B]}, "got both"),
        ({"inputs": [A, B], "id": 5}, '"id": expected a string, got 5'),
        ({"inputs": [A, B], "outputs": [{"name": "Z"}]}, 'output "Z": expected one of "Y"'),
        ({"inputs": [A, B], "outputs": [{"name": "Y"}, {"name": "Y"}]}, 'output "Y": expected once'),
        ({"inputs": [A, B], "outputs": [{"name": "Y", "parameters": {"classification": 3}}]}, "classification"),
        ({"inputs": [A, B], "parameters": {"binary_data_output": 1}}, "expected true or false, got 1"),
    ],
)
def test_refusals_of_documents(document: object, words: str) -> None:
    with pytest.raises(RequestError) as refusal:
        OpenInferenceCodec(SIGNATURE, "m", "1").decode(orjson.dumps(document))
    assert refusal.value.status == 400
    assert words in refusal.value.message


@pytest.mark.parametrize("data", [3, [3]])
def test_scalars_are_given_alone_or_in_a_list(data: object) -> None:
    request = OpenInferenceCodec(SIGNATURE, "m", "1").decode(orjson.dumps({"inputs": [A, {**B, "data": data}]}))
    assert request.inputs["B"].shape == ()
    assert request.inputs["B"] == 3


@pytest.mark.parametrize(("length", "words"), [(999, "expected a length up to"), (10, "expected a JSON body")])
def test_refusals_of_the_binary_extension_header(length: int, words: str) -> None:
    with pytest.raises(RequestError) as refusal:
        OpenInferenceCodec(SIGNATURE, "m", "1").decode(orjson.dumps({"inputs": [A, B]}), length)
    assert words in refusal.value.message
