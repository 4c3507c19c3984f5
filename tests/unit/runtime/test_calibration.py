"""Where a model runs and whether its requests may share a run: real counter-examples and made ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from mlfn_runtime.calibration import Calibration, calibrate, choose
from mlfn_runtime.errors import RequestError, StartError
from mlfn_runtime.onnx_backend import OnnxBackend
from mlfn_runtime.synthesis import example_body, synthesise

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
AXIS_0 = helper.make_node("Constant", [], ["axis"], value_int=0)
MIXING = {
    "a running sum over the rows": [AXIS_0, helper.make_node("CumSum", ["X", "axis"], ["Y"])],
    "a softmax over the rows": [helper.make_node("Softmax", ["X"], ["Y"], axis=0)],
    "a mean over the rows": [
        helper.make_node("ReduceMean", ["X"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["X", "mean"], ["Y"]),
    ],
    "quantised over the whole run": [
        helper.make_node("DynamicQuantizeLinear", ["X"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["Y"]),
    ],
}


def calibrated(path: str) -> Calibration:
    return calibrate(OnnxBackend(path), time.perf_counter)


@pytest.mark.parametrize("nodes", MIXING.values(), ids=MIXING.keys())
def test_a_model_that_mixes_its_rows_is_never_merged(house: Any, tmp_path: Path, nodes: list[Any]) -> None:
    value = (FLOAT, ["N", 3])
    model = house.save_model(tmp_path / "m.onnx", nodes, [("X", *value)], [("Y", *value)])
    calibration = calibrated(model)
    assert not calibration.mergeable
    assert "differs from two runs of one" in calibration.why
    assert choose(calibration, 1).merge_rows == 1


def test_a_model_of_independent_rows_is_merged(house: Any, tmp_path: Path) -> None:
    add = [helper.make_node("Add", ["X", "X"], ["Y"])]
    model = house.save_model(tmp_path / "m.onnx", add, [("X", FLOAT, ["N", 3])], [("Y", FLOAT, ["N", 3])])
    calibration = calibrated(model)
    assert calibration.mergeable
    assert choose(calibration, 1).mode == "loop"


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        pytest.param([("X", FLOAT, ["N", 3]), ("S", FLOAT, ["M", 3])], [("Y", FLOAT, ["N", 3])], id="two symbols"),
        pytest.param([("X", FLOAT, [None, 3]), ("S", FLOAT, [None, 3])], [("Y", FLOAT, [None, 3])], id="no names"),
        pytest.param([("X", FLOAT, ["N", 3]), ("S", FLOAT, [])], [("Y", FLOAT, ["N", 3])], id="a scalar"),
        pytest.param([("X", FLOAT, ["N", 3]), ("S", FLOAT, [1, 3])], [("Y", FLOAT, ["N", 3])], id="a fixed state"),
        pytest.param([("X", FLOAT, [2, 3]), ("S", FLOAT, [2, 3])], [("Y", FLOAT, [2, 3])], id="a fixed batch"),
    ],
)
def test_first_axes_that_are_not_one_batch_are_not_even_tried(
    house: Any, tmp_path: Path, inputs: list[Any], outputs: list[Any]
) -> None:
    model = house.save_model(tmp_path / "m.onnx", [helper.make_node("Add", ["X", "S"], ["Y"])], inputs, outputs)
    calibration = calibrated(model)
    assert not calibration.mergeable
    assert "does not carry one name" in calibration.why


@pytest.mark.parametrize(
    ("run_s", "pair_s", "mergeable", "expected"),
    [
        (0.00005, 0.00006, True, ("loop", 0, 64)),
        (0.00005, 0.0, False, ("loop", 0, 1)),
        (0.005, 0.0075, True, ("workers", 2, 2)),
        (0.005, 0.0101, True, ("workers", 2, 1)),
        (0.005, 0.0, False, ("workers", 2, 1)),
    ],
)
def test_the_choice_follows_the_measured_times(
    run_s: float, pair_s: float, mergeable: bool, expected: tuple[str, int, int]
) -> None:
    plan = choose(Calibration({}, run_s, pair_s, mergeable, "why"), 2)
    assert (plan.mode, plan.workers, plan.merge_rows) == expected


def test_a_model_that_takes_no_inputs_made_for_it_fails_the_warm_up(house: Any, tmp_path: Path) -> None:
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[7, 11])
    nodes = [shape, helper.make_node("Reshape", ["X", "shape"], ["Y"])]
    model = house.save_model(tmp_path / "m.onnx", nodes, [("X", FLOAT, ["N", 13])], [("Y", FLOAT, [7, 11])])
    with pytest.raises(StartError, match="the inference before ready failed") as failure:
        calibrated(model)
    assert (failure.value.kind, failure.value.exit_code) == ("warm_up", 2)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256))], ids=["empty", "text", "bytes"])
def test_a_file_that_is_no_model_fails_the_load(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(StartError, match=r"m\.onnx") as failure:
        OnnxBackend(str(path))
    assert failure.value.kind == "load"
    assert "\n" not in failure.value.message


@pytest.mark.parametrize("datatype", [TensorProto.STRING, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.UINT8])
def test_synthesised_inputs_have_the_type_and_an_example_body(house: Any, tmp_path: Path, datatype: int) -> None:
    value = (datatype, ["N", "S", 2])
    identity = [helper.make_node("Identity", ["X"], ["Y"])]
    model = house.save_model(tmp_path / "m.onnx", identity, [("X", *value)], [("Y", *value)])
    backend = OnnxBackend(model)
    made = synthesise(backend.signature, 2)
    assert made["X"].shape == (2, 16, 2)
    assert not np.array_equal(made["X"][0], made["X"][1])
    assert np.array_equal(backend.predict(made)["Y"], made["X"])
    tensor: Any = example_body(backend.signature)["inputs"][0]  # type: ignore[index]  # JSON
    assert len(tensor["data"]) == np.prod(tensor["shape"])


def test_an_unknown_rank_or_a_wrong_input_is_refused_not_raised(house: Any, tmp_path: Path) -> None:
    add = [helper.make_node("Add", ["X", "X"], ["Y"])]
    model = house.save_model(tmp_path / "m.onnx", add, [("X", FLOAT, ["N", 3])], [("Y", FLOAT, ["N", 3])])
    with pytest.raises(RequestError, match="the model cannot run"):
        OnnxBackend(model).predict({"X": np.zeros((1, 4), np.float32)})


@pytest.mark.parametrize("name", ["silero-vad", "silero-vad-sequence"])
def test_silero_vad_runs_and_is_never_merged(fetched_model: Callable[[str], Path], name: str) -> None:
    calibration = calibrated(str(fetched_model(name)))
    assert not calibration.mergeable
    assert choose(calibration, 1).merge_rows == 1


@pytest.mark.parametrize(
    ("inputs", "nodes", "outputs"),
    [
        pytest.param(
            [("X", FLOAT, ["batch", 3]), ("state", FLOAT, [2, "batch", 3])],
            [
                helper.make_node("ReduceSum", ["state", "axis"], ["sum"], keepdims=0),
                helper.make_node("Add", ["X", "sum"], ["Y"]),
                helper.make_node("Identity", ["state"], ["stateN"]),
            ],
            [("Y", FLOAT, ["batch", 3]), ("stateN", FLOAT, [2, "batch", 3])],
            id="the batch is the second axis of the state",
        ),
        pytest.param(
            [("X", FLOAT, ["sequence", 3]), ("h", FLOAT, [1, 1, 3])],
            [
                helper.make_node("CumSum", ["X", "axis"], ["Y"]),
                helper.make_node("Identity", ["h"], ["hn"]),
            ],
            [("Y", FLOAT, ["sequence", 3]), ("hn", FLOAT, [1, 1, 3])],
            id="the first axis is a sequence",
        ),
    ],
)
def test_state_and_sequence_axes_in_small(
    house: Any, tmp_path: Path, inputs: list[Any], nodes: list[Any], outputs: list[Any]
) -> None:
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[0])
    calibration = calibrated(house.save_model(tmp_path / "m.onnx", [axis, *nodes], inputs, outputs))
    assert not calibration.mergeable
    assert "does not carry one name" in calibration.why
