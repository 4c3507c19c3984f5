"""One server, its answers: infer, hosted contract, metadata, statistics, and inputs that the model refuses."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path
from typing import Any

import onnxruntime
import pytest


def tensor(rows: list[list[float]], **more: object) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"name": "X", "datatype": "FP32", "shape": [len(rows), 2], "data": flat, **more}


def indexes(*values: int) -> dict[str, Any]:
    return {"inputs": [{"name": "I", "datatype": "INT64", "shape": [len(values)], "data": list(values)}]}


def test_an_inference_gives_back_id_and_parameters(double: Any) -> None:
    answer = double.post({"id": "7", "parameters": {"a": [1]}, "inputs": [tensor([[1, 2], [3, 4]])]})
    assert answer.json == {
        "model_name": "double",
        "model_version": "1",
        "id": "7",
        "parameters": {"a": [1]},
        "outputs": [{"name": "Y", "datatype": "FP32", "shape": [2, 2], "data": [2, 4, 6, 8]}],
    }


def test_a_version_in_the_path_and_one_that_is_not_served(double: Any) -> None:
    body = {"inputs": [tensor([[1, 2]])]}
    assert double.post(body, "/v2/models/double/versions/1/infer").status == 200
    assert double.post(body, "/v2/models/double/versions/2/infer").status == 404


def test_no_rows_are_an_inference_too(double: Any) -> None:
    answer = double.post({"inputs": [{"name": "X", "datatype": "FP32", "shape": [0, 2], "data": []}]})
    assert answer.json["outputs"][0] == {"name": "Y", "datatype": "FP32", "shape": [0, 2], "data": []}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"inputs": {"X": [[1, 2]]}}, {"outputs": {"Y": [[2, 4]]}}),
        ({"inputs": [[1, 2]]}, {"outputs": {"Y": [[2, 4]]}}),
        ({"instances": [[1, 2], [3, 4]]}, {"predictions": [[2, 4], [6, 8]]}),
        ({"instances": [{"X": [1, 2]}]}, {"predictions": [[2, 4]]}),
    ],
)
def test_invocations_in_each_form(double: Any, body: object, answer: object) -> None:
    assert double.post(body, "/invocations").json == answer


def test_invocations_take_an_open_inference_document(double: Any) -> None:
    answer = double.post({"inputs": [tensor([[1, 2]])]}, "/invocations")
    assert answer.json["outputs"][0]["data"] == [2, 4]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": {"X": [1, 2]}}, "expected lists nested as [-1, 2], got [2]"),
        ({"inputs": {"X": [[1, 2, 3]]}}, "expected lists nested as [-1, 2], got [1, 3]"),
        ({"inputs": {"Z": [[1, 2]]}}, 'input "Z": expected one of X'),
        ({"inputs": {}}, 'input "X": expected'),
        ({"inputs": 5}, '"inputs": expected an object'),
        ({"instances": []}, '"instances": expected a list of at least one row'),
        ({"instances": [{"Z": 1}]}, "expected objects with exactly X"),
        ([1], "expected a JSON object"),
    ],
)
def test_invocations_refused(double: Any, body: object, words: str) -> None:
    answer = double.post(body, "/invocations")
    assert answer.status == 400
    assert words in answer.json["error"]


def test_ping_and_health(double: Any) -> None:
    assert [double.get(path).status for path in ("/ping", "/v2/health/live", "/v2/health/ready")] == [200, 200, 200]
    assert double.get("/v2/models/double/ready").json["ready"] is True


def test_metadata_shows_the_choice(double: Any) -> None:
    metadata = double.get("/v2/models/double").json
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]
    execution = metadata["parameters"]["execution"]
    assert (execution["mode"], execution["merge_rows"]) == ("loop", 64)
    assert "equals two runs of one" in execution["why"]
    assert double.facts["execution"] == execution
    assert set(double.facts["seconds"]) == {"load", "warm_up"}


def test_an_index_out_of_range_is_the_clients_fault(lookup: Any) -> None:
    answer = lookup.post(indexes(0, 3))
    assert answer.status == 400
    assert "the model cannot run on these inputs" in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_a_bad_index_never_fails_its_neighbours(lookup: Any) -> None:
    """Many at once, so that most share a run with a bad one."""

    def ask(number: int) -> tuple[int, Any]:
        answer = lookup.post(indexes(99 if number % 5 == 0 else number % 3))
        return answer.status, answer.json.get("outputs")

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(300)))
    for number, (status, outputs) in enumerate(answers):
        if number % 5 == 0:
            assert status == 400
        else:
            assert (status, outputs[0]["data"]) == (200, [10.0 * (number % 3 + 1)])


def test_statistics_count_what_was_asked(lookup: Any) -> None:
    before = lookup.get("/v2/models/lookup/stats").json
    lookup.post(indexes(0, 1))
    lookup.post(indexes(7))
    after = lookup.get("/v2/models/lookup/stats").json
    grown = {name: after[name] - before[name] for name in ("inferences", "failures", "rows")}
    assert grown == {"inferences": 1, "failures": 1, "rows": 2}
    assert (after["queue_depth"], after["in_flight"]) == (0, 1)


def test_metrics_agree_with_statistics(lookup: Any) -> None:
    text = lookup.get("/metrics").body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    stats = lookup.get("/v2/models/lookup/stats").json
    assert float(values["mlfn_inferences_total"]) == stats["inferences"]
    assert float(values["mlfn_ready"]) == 1
    assert float(values["mlfn_model_load_seconds"]) > 0


def test_a_sequence_of_maps_is_served_as_columns(house: Any, tmp_path: Path) -> None:
    model = Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx"
    rows = [[0.1, 0.2], [1.0, 1.5], [5.0, 6.0]]
    body = {"inputs": [{"name": "float_input", "datatype": "FP32", "shape": [3, 2], "data": rows}]}
    with house.serving(str(model), tmp_path / "log") as server:
        outputs = server.post(body).json["outputs"]
        metadata = server.get("/v2/models/logreg_iris").json
    assert [output["shape"] for output in outputs] == [[3], [3, 3]]
    assert sum(outputs[1]["data"][:3]) == pytest.approx(1.0, abs=1e-5)
    assert metadata["outputs"][1]["shape"] == [-1, 3]
    assert metadata["outputs"][1]["parameters"] == {"keys": [0, 1, 2]}
    assert metadata["parameters"]["execution"]["merge_rows"] == 1


def test_the_warm_up_is_not_counted(house: Any, models: Path, tmp_path: Path) -> None:
    with house.serving(str(models / "double.onnx"), tmp_path / "log") as server:
        assert server.get("/v2/models/double/stats").json["inferences"] == 0
        assert [line["event"] for line in server.log_lines() if "event" in line] == ["listening", "ready"]
