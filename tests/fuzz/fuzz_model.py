"""The model that is fuzzed: numbers, text and a table look-up that ONNX Runtime itself refuses when out of range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

ROWS = "N"
TABLE = 16


def write_model(path: Path, *, slow: bool = False) -> None:
    """Write ``x`` FP32 [N, 4] doubled, ``text`` BYTES [N] as it is, ``token`` INT64 [N] looked up in a table of 16.

    With ``slow`` it also multiplies random numbers for about a millisecond: slow enough to be run by worker threads.
    """
    table = numpy_helper.from_array(np.linspace(0, 1, TABLE, dtype=np.float32), "table")
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    twice = [helper.make_node("Mul", ["x", "two"], ["doubled"])]
    if slow:
        twice = [
            helper.make_node("RandomUniform", [], ["noise"], shape=[320, 320]),
            helper.make_node("MatMul", ["noise", "noise"], ["product"]),
            helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Mul", ["x", "two"], ["alone"]),
            helper.make_node("Add", ["alone", "nothing"], ["doubled"]),
        ]
    graph = helper.make_graph(
        [
            *twice,
            helper.make_node("Identity", ["text"], ["echo"]),
            helper.make_node("Gather", ["table", "token"], ["looked_up"]),
        ],
        "fuzzed",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, 4]),
            helper.make_tensor_value_info("text", TensorProto.STRING, [ROWS]),
            helper.make_tensor_value_info("token", TensorProto.INT64, [ROWS]),
        ],
        [
            helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [ROWS, 4]),
            helper.make_tensor_value_info("echo", TensorProto.STRING, [ROWS]),
            helper.make_tensor_value_info("looked_up", TensorProto.FLOAT, [ROWS]),
        ],
        [table, two, zero] if slow else [table, two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
