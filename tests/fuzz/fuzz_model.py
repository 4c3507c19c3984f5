"""The model that is fuzzed: numbers, text and a table look-up that ONNX Runtime itself refuses when out of range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

ROWS = "N"
TABLE = 16


def write_model(path: Path) -> None:
    """Write ``x`` FP32 [N, 4] doubled, ``text`` BYTES [N] as it is, ``token`` INT64 [N] looked up in a table of 16."""
    table = numpy_helper.from_array(np.linspace(0, 1, TABLE, dtype=np.float32), "table")
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["doubled"]),
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
        [table, two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
