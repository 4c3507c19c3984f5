"""inspect, config, version, sim verify."""

from __future__ import annotations

import gzip
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from mlfn.settings import FIELDS


def test_inspect_as_a_document(run: Any, model: Path) -> None:
    told = run("inspect", model, "-o", "json").json
    assert list(told) == [
        "schema",
        "format",
        "digest",
        "size_bytes",
        "opsets",
        "inputs",
        "outputs",
        "batch_axis",
        "findings",
    ]
    assert told["schema"] == "mlfn.signature/v1"
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert told["size_bytes"] == model.stat().st_size


def test_inspect_as_a_page(run: Any, model: Path) -> None:
    outcome = run("inspect", model)
    assert outcome.code == 0
    assert "N x 4" in outcome.out
    assert "sha256:" in outcome.out


def test_inspect_prints_an_example_that_can_be_sent(run: Any, model: Path) -> None:
    (tensor,) = run("inspect", model, "--example").json["inputs"]
    assert (tensor["name"], tensor["shape"], len(tensor["data"])) == ("x", [1, 4], 4)


def test_inspect_exits_with_2_when_the_model_cannot_be_served(run: Any, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y")]
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")
    graph = helper.make_graph([node], "custom", tensors[:1], tensors[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    custom = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(custom, tmp_path / "custom.onnx")
    outcome = run("inspect", "custom.onnx", "-o", "json")
    assert outcome.code == 2
    assert [each["severity"] for each in outcome.json["findings"]].count("error") == 1
    deployed = run("deploy", "custom.onnx")
    assert deployed.code == 2
    assert "Frobnicate" in deployed.err
    assert "hint: " in deployed.err


def test_inspect_loads_the_model_unless_told_not_to(run: Any, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "nothing"], ["y"])], "open", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "o.onnx")
    outcome = run("inspect", "o.onnx", "-o", "json")
    assert outcome.code == 2
    assert [each["what"] for each in outcome.json["findings"]] == ["does-not-load"]
    assert run("inspect", "o.onnx", "--no-load").code == 0


def test_config_shows_each_value_and_its_origin(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFN_SERVE_PORT", "9000")
    (tmp_path / "mlfn.yaml").write_text("function:\n  memory: 1Gi\n")
    outcome = run("config", "-o", "json")
    told = outcome.json
    assert told["schema"] == "mlfn.config/v1"
    values = {each["key"]: each for each in told["values"]}
    assert list(values) == list(FIELDS)
    assert (values["serve.port"]["value"], values["serve.port"]["origin"]) == (9000, "environment")
    memory = values["function.memory"]
    assert (memory["value"], memory["origin"], memory["where"]) == (2**30, "project", f"{tmp_path}/mlfn.yaml:2")
    page = run("config").out
    assert f"{tmp_path}/mlfn.yaml:2" in page
    assert "MLFN_SERVE_PORT" in page
    assert run("config", "get", "function.memory").out == "1Gi\n"


def test_config_refuses_what_a_command_would_refuse(run: Any, tmp_path: Path) -> None:
    (tmp_path / "mlfn.yaml").write_text("function:\n  memory: much\n")
    outcome = run("config")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{tmp_path}/mlfn.yaml:2: function.memory: 'much' cannot be used" in outcome.err


def test_config_init_writes_a_file_that_changes_nothing_until_it_is_edited(run: Any, tmp_path: Path) -> None:
    assert run("config", "init").code == 0
    written = (tmp_path / "mlfn.yaml").read_text()
    origins = {each["origin"] for each in run("config", "-o", "json").json["values"]}
    assert origins <= {"default", "environment"}
    again = run("config", "init")
    assert again.code == 11
    assert "--force" in again.err
    (tmp_path / "mlfn.yaml").write_text("x")
    assert run("config", "init", "--force").code == 0
    assert (tmp_path / "mlfn.yaml").read_text() == written


def test_version_names_what_mlfn_stands_on(run: Any) -> None:
    told = run("version", "-o", "json").json
    assert told["schema"] == "mlfn.version/v1"
    assert told["packages"]["onnxruntime"] == version("onnxruntime")
    assert run("version").out.startswith(f"mlfn {told['mlfn']}\n")
    assert run("--version").out == run("-V").out == f"mlfn {told['mlfn']}\n"


@pytest.fixture
def recording(repository: Path) -> Path:
    """Return recorded decisions of a real autoscaler."""
    return repository / "tests" / "data" / "kpa_decisions.json.gz"


def test_sim_verify_counts_equal_decisions(run: Any, recording: Path) -> None:
    outcome = run("sim", "verify", recording, "-o", "json")
    (result,) = outcome.json["results"]
    assert outcome.code == 0
    assert outcome.json["schema"] == "mlfn.agreement/v1"
    assert result["decisions"] == result["equal_decisions"] > 0
    assert run("sim", "verify", recording).out.splitlines()[0].split()[0] == "FILE"


def test_sim_verify_exits_with_9_on_a_difference_and_prints_it(run: Any, recording: Path, tmp_path: Path) -> None:
    cases = json.loads(gzip.decompress(recording.read_bytes()))
    first = cases[0] if isinstance(cases, list) else next(iter(cases.values()))
    spoil(first)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(cases))
    outcome = run("sim", "verify", changed, "-o", "json")
    (result,) = outcome.json["results"]
    assert outcome.code == 9
    assert result["equal_decisions"] == result["decisions"] - 1
    assert result["first_difference"]
    assert json.loads(outcome.err)["error"]["kind"] == "check_not_met"


def spoil(value: Any) -> bool:
    """Change the first ``desired`` found below a value."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "desired" and isinstance(each, int):
                value[key] = each + 1
                return True
            if spoil(each):
                return True
    return isinstance(value, list) and any(spoil(each) for each in value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\x1f\x8b\x08broken"], ids=["empty", "nothing", "cut", "gzip"])
def test_sim_verify_refuses_what_is_no_recording(content: bytes, run: Any, tmp_path: Path) -> None:
    file = tmp_path / "recording.json"
    file.write_bytes(content)
    outcome = run("sim", "verify", file)
    assert (outcome.code, outcome.out) == (2, "")
    assert str(file.name) in outcome.err
    assert run("sim", "verify", "nowhere.json").code == 2


def test_the_unit_starts_this_mlfn_on_this_state_folder(run: Any, tmp_path: Path) -> None:
    unit = run("local", "unit", "--state-dir", tmp_path / "my state")
    assert unit.code == 0
    (start,) = [line for line in unit.out.splitlines() if line.startswith("ExecStart=")]
    assert "mlfn" in start
    assert f'local up --state-dir "{tmp_path}/my state"' in start
