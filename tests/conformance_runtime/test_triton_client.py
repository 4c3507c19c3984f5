"""``tritonclient[http]``, unchanged, against the function server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytestmark = [
    # gevent, which tritonclient brings, patches and warns at import; none of it is ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gevent"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:geventhttpclient"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tritonclient"),
]

ROWS = {
    "BOOL": np.array([[True, False], [False, True], [True, True]]),
    "UINT8": np.array([[0, 255], [1, 2], [3, 4]], np.uint8),
    "UINT16": np.array([[0, 65535], [1, 2], [3, 4]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1], [1, 2], [3, 4]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1], [1, 2], [3, 4]], np.uint64),
    "INT8": np.array([[-128, 127], [1, 2], [3, 4]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1], [1, 2], [3, 4]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1], [1, 2], [3, 4]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1], [1, 2], [3, 4]], np.int64),
    "FP16": np.array([[-65504, 65504], [0.5, 2], [3, 4]], np.float16),
    "FP32": np.array([[-3.4e38, 3.4e38], [1e-38, 2], [3, 4]], np.float32),
    "FP64": np.array([[-1.7e308, 1.7e308], [5e-324, 2], [3, 4]], np.float64),
    "BYTES": np.array([["", "a"], ["☃", 'quo"te'], ["x" * 1000, "\x00"]], np.object_),
}


@pytest.fixture
def http() -> Any:
    from tritonclient import http

    return http


@pytest.fixture
def iris_client(iris: Any, http: Any) -> Iterator[Any]:
    with http.InferenceServerClient(f"127.0.0.1:{iris.port}") as client:
        yield client


@pytest.fixture
def datatypes_client(datatypes: Any, http: Any) -> Iterator[Any]:
    with http.InferenceServerClient(f"127.0.0.1:{datatypes.port}") as client:
        yield client


def flower(http: Any, rows: np.ndarray, *, binary: bool) -> Any:
    tensor = http.InferInput("X", list(rows.shape), "FP32")
    return tensor.set_data_from_numpy(rows, binary_data=binary)


def test_health_and_metadata(iris_client: Any) -> None:
    assert iris_client.is_server_live()
    assert iris_client.is_server_ready()
    assert iris_client.is_model_ready("iris")
    assert iris_client.is_model_ready("iris", "1")
    assert not iris_client.is_model_ready("tulip")
    assert iris_client.get_server_metadata()["name"] == "mlfn"
    metadata = iris_client.get_model_metadata("iris")
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
    assert [output["name"] for output in metadata["outputs"]] == ["label", "probabilities"]
    assert iris_client.get_model_metadata("iris", "1") == metadata


@pytest.mark.parametrize("binary_in", [False, True], ids=["json-in", "binary-in"])
@pytest.mark.parametrize("binary_out", [False, True], ids=["json-out", "binary-out"])
def test_infer_iris(http: Any, iris_client: Any, binary_in: bool, binary_out: bool) -> None:
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], np.float32)
    wanted = [http.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "label")]
    result = iris_client.infer("iris", [flower(http, rows, binary=binary_in)], outputs=wanted, request_id="r-1")
    assert result.get_response()["id"] == "r-1"
    assert [output["name"] for output in result.get_response()["outputs"]] == ["probabilities", "label"]
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (2, 3)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert result.as_numpy("label").tolist() == probabilities.argmax(axis=1).tolist()


def test_all_outputs_come_when_none_is_named(http: Any, iris_client: Any) -> None:
    result = iris_client.infer("iris", [flower(http, np.ones((1, 4), np.float32), binary=True)])
    assert result.as_numpy("label") is not None
    assert result.as_numpy("probabilities") is not None


def test_one_output_alone(http: Any, iris_client: Any) -> None:
    result = iris_client.infer(
        "iris",
        [flower(http, np.ones((1, 4), np.float32), binary=True)],
        model_version="1",
        outputs=[http.InferRequestedOutput("label")],
    )
    assert result.as_numpy("probabilities") is None


def test_no_rows_give_no_rows(http: Any, iris_client: Any) -> None:
    result = iris_client.infer("iris", [flower(http, np.ones((0, 4), np.float32), binary=True)])
    assert result.as_numpy("probabilities").shape == (0, 3)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_every_datatype_comes_back_as_it_went(http: Any, datatypes_client: Any, binary: bool) -> None:
    inputs = []
    for name, rows in ROWS.items():
        tensor = http.InferInput(f"in_{name}", list(rows.shape), name)
        # The client refuses to write FP16 as JSON, so that one is always binary.
        inputs.append(tensor.set_data_from_numpy(rows, binary_data=binary or name == "FP16"))
    scalar = http.InferInput("scalar", [], "FP32")
    inputs.append(scalar.set_data_from_numpy(np.array(2.5, np.float32), binary_data=True))
    wanted = [http.InferRequestedOutput(f"out_{name}", binary_data=binary or name == "FP16") for name in ROWS]
    wanted.append(http.InferRequestedOutput("negated", binary_data=binary))
    result = datatypes_client.infer("datatypes", inputs, outputs=wanted)
    for name, rows in ROWS.items():
        found = result.as_numpy(f"out_{name}")
        if name == "BYTES":
            found = np.array([[_text(item) for item in row] for row in found], np.object_)
        assert found.dtype == rows.dtype, name
        assert found.tolist() == rows.tolist(), name
    assert result.as_numpy("negated").tolist() == -2.5


def _text(item: str | bytes) -> str:
    return item.decode() if isinstance(item, bytes) else item


def test_a_wrong_shape_is_told_in_the_servers_words(http: Any, iris_client: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as caught:
        iris_client.infer("iris", [flower(http, np.ones((1, 3), np.float32), binary=True)])
    assert caught.value.status() == "400"
    assert caught.value.message() == 'input "X": expected shape [-1, 4], got [1,3]'


def test_an_unknown_model_is_told(http: Any, iris_client: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="the model served here is"):
        iris_client.infer("tulip", [flower(http, np.ones((1, 4), np.float32), binary=True)])
