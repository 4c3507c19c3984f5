"""deploy, invoke, list, describe, logs, delete against a platform in memory: what is asked of it, what is printed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlfn.errors import DeployFailed
from mlfn.function import Answer, LogLine


def test_deploy_prints_the_url_last_and_talks_on_stderr(run: Any, world: Any, model: Path) -> None:
    outcome = run("deploy", model)
    assert (outcome.code, outcome.out) == (0, "memory:echo\n")
    assert "deployed echo on memory, revision echo-00001, in " in outcome.err


def test_deploy_says_everything_in_json(run: Any, world: Any, model: Path) -> None:
    first = run("deploy", model, "-o", "json")
    told = first.json
    assert (first.code, first.err) == (0, "")
    assert set(told) == {
        "schema",
        "name",
        "platform",
        "url",
        "revision",
        "previous",
        "digest",
        "changed",
        "ready",
        "seconds",
        "findings",
        "image",
        "warm",
    }
    assert told["schema"] == "mlfn.deployed/v1"
    assert (told["name"], told["revision"], told["previous"]) == ("echo", "echo-00001", None)
    assert set(told["seconds"]) == {"inspect", "start", "total"}
    assert yaml.safe_load(run("deploy", model, "--min-scale", 1, "-o", "yaml").out)["previous"] == "echo-00001"
    assert run("deploy", model, "-o", "name").out == "echo\n"


def test_deploying_the_same_thing_twice_is_said_to_change_nothing(run: Any, world: Any, model: Path) -> None:
    run("deploy", model)
    again = run("deploy", model)
    assert (again.code, again.out) == (0, "memory:echo\n")
    assert again.err == "unchanged: echo on memory already is revision echo-00001\n"
    assert run("deploy", model, "-o", "json").json["changed"] is False


def test_without_waiting_it_is_said_how_to_see_the_end(run: Any, world: Any, model: Path) -> None:
    assert "`mlfn describe echo` tells when it is ready" in run("deploy", model, "--no-wait").err


def test_every_option_of_deploy_reaches_the_platform(run: Any, world: Any, model: Path) -> None:
    options = "--name n --concurrency 8 --target 4.5 --utilization 50 --min-scale 1 --max-scale 3 --window 2m"
    outcome = run(
        "deploy", model, *options.split(), "--memory", "512Mi", "--timeout", "1m", "--env", "A=1", "--env", "B=x=y"
    )
    assert outcome.code == 0
    spec = world.specs[-1]
    assert (spec.name, spec.concurrency, spec.target, spec.utilization) == ("n", 8, 4.5, 0.5)
    assert (spec.min_scale, spec.max_scale, spec.window_s, spec.timeout_s) == (1, 3, 120, 60.0)
    assert (spec.memory_bytes, dict(spec.env)) == (2**29, {"A": "1", "B": "x=y"})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("iris.onnx", "iris"),
        ("flowers/model.onnx", "model"),
        ("My Model_v2.onnx", "my-model-v2"),
        ("3d.onnx", "model-3d"),
    ],
)
def test_the_name_comes_from_the_file(path: str, name: str, run: Any, world: Any, model: Path) -> None:
    file = model.parent / path
    file.parent.mkdir(exist_ok=True)
    model.rename(file)
    assert run("deploy", file, "-o", "name").out == f"{name}\n"


def test_a_bad_name_is_refused_with_the_corrected_one(run: Any, world: Any, model: Path) -> None:
    outcome = run("deploy", model, "--name", "My_Model")
    assert (outcome.code, outcome.out, world.specs) == (2, "", [])
    assert outcome.err.startswith("error: --name: 'My_Model' cannot be used: expected lower-case letters")
    assert "hint: try --name my-model\n" in outcome.err


def test_all_wrong_options_are_told_at_once(run: Any, world: Any, model: Path) -> None:
    wrong = "--concurrency -1 --target 0 --utilization 101 --window 5s --memory 512Q --max-scale x --env 1=2"
    outcome = run("deploy", model, *wrong.split())
    assert (outcome.code, world.specs) == (2, [])
    for option in ("--concurrency", "--target", "--utilization", "--window", "--memory", "--max-scale", "--env"):
        assert f"  {option}: " in outcome.err


def test_mlfn_yaml_names_model_and_settings(run: Any, world: Any, model: Path) -> None:
    (model.parent / "mlfn.yaml").write_text("function:\n  model: echo.onnx\n  name: from-file\n  concurrency: 3\n")
    assert run("deploy", "-o", "name").out == "from-file\n"
    assert world.specs[-1].concurrency == 3


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"\x80\x04K*.", None], ids=["empty", "text", "pickle", "missing"]
)
def test_a_bad_model_never_reaches_the_platform(content: bytes | None, run: Any, world: Any, tmp_path: Path) -> None:
    file = tmp_path / "bad.onnx"
    if content is not None:
        file.write_bytes(content)
    outcome = run("deploy", file)
    assert (outcome.code, outcome.out, world.specs) == (2, "", [])
    assert outcome.err.startswith("error: ")


def test_a_failed_deploy_exits_with_7(run: Any, world: Any, model: Path) -> None:
    world.fails_with = DeployFailed("echo-00002 did not become ready; echo-00001 serves on", details="Killed")
    outcome = run("deploy", model)
    assert (outcome.code, outcome.out) == (7, "")
    assert outcome.err == "error: echo-00002 did not become ready; echo-00001 serves on\n  Killed\n"


ANSWER = {
    "model_name": "echo",
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]},
        {"name": "score", "datatype": "FP32", "shape": [1, 20], "data": [0.1234567] * 20},
        {"name": "loss", "datatype": "FP32", "shape": [], "data": [1.0]},
    ],
}


@pytest.fixture
def deployed(run: Any, world: Any, model: Path) -> Any:
    """Deploy the model as ``echo``, which answers with ``ANSWER``."""
    world.answer = Answer(200, {}, json.dumps(ANSWER).encode(), 0.0123)
    run("deploy", model)
    return world


def test_invoke_shows_the_outputs_and_says_how_long_it_took(run: Any, deployed: Any) -> None:
    outcome = run("invoke", "echo", "-d", '{"inputs": []}')
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split() == ["OUTPUT", "DATATYPE", "SHAPE", "VALUES"]
    assert outcome.out.splitlines()[1].split() == ["label", "INT64", "1", "0"]
    assert "1 x 20" in outcome.out
    assert "0.123457, … 8 more" in outcome.out
    assert "scalar" in outcome.out
    assert outcome.err == "12.3 ms\n"
    assert deployed.sent == [
        ("/v2/models/echo/infer", b'{"inputs": []}', {"Content-Type": "application/json"}, 60.0),
    ]


def test_invoke_tells_a_cold_start(run: Any, deployed: Any) -> None:
    deployed.answer = Answer(200, {"Mlfn-Held-Seconds": "0.0101"}, b"{}", 0.0123)
    assert run("invoke", "echo", "-d", "{}").err == "12.3 ms, 10.1 ms of it until an instance was ready\n"


def test_invoke_gives_the_answer_as_json_and_yaml(run: Any, deployed: Any) -> None:
    assert run("invoke", "echo", "-d", "{}", "-o", "json").json == ANSWER
    assert yaml.safe_load(run("invoke", "echo", "-d", "{}", "-o", "yaml").out) == ANSWER


def test_invoke_makes_an_example_from_the_signature(run: Any, deployed: Any) -> None:
    assert run("invoke", "echo", "--example").code == 0
    (tensor,) = json.loads(deployed.sent[-1][1])["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("x", "FP32", [1, 4])


def test_an_example_that_is_refused_is_sent_once_where_no_axis_is_free(run: Any, deployed: Any) -> None:
    deployed.answer = Answer(400, {}, b'{"error": "no"}', 0.001)
    assert run("invoke", "echo", "--example").code == 2
    assert len(deployed.sent) == 1


def test_invoke_reads_files_and_standard_input(
    run: Any, deployed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"from": "file"}')
    assert run("invoke", "echo", "-d", f"@{file}").code == 0
    assert deployed.sent[-1][1] == b'{"from": "file"}'
    stdin = io.TextIOWrapper(io.BytesIO(b'{"from": "stdin"}'))
    monkeypatch.setattr("sys.stdin", stdin)
    assert run("invoke", "echo", "-d", "-", "--path", "/invocations", "--timeout", "2s").code == 0
    assert deployed.sent[-1][0::3] == ("/invocations", 2.0)
    assert deployed.sent[-1][1] == b'{"from": "stdin"}'
    missing = run("invoke", "echo", "-d", "@nowhere.json")
    assert (missing.code, missing.err) == (2, "error: --data: nowhere.json cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("data", "told"),
    [('{"inputs": [1,]}', "line 1, column 15"), ('{\n"a": nope}', "line 2, column 6"), ("", "line 1, column 1")],
)
def test_a_request_that_is_not_json_is_refused_before_it_is_sent(data: str, told: str, run: Any, deployed: Any) -> None:
    outcome = run("invoke", "echo", "-d", data)
    assert (outcome.code, outcome.out, deployed.sent) == (2, "", [])
    assert outcome.err.startswith("error: the request is not JSON: ")
    assert told in outcome.err


def test_a_request_that_is_nested_too_deep_is_refused_before_it_is_sent(run: Any, deployed: Any) -> None:
    outcome = run("invoke", "echo", "-d", "[" * 100_000)
    assert (outcome.code, outcome.out, deployed.sent) == (2, "", [])
    assert "nested too deep" in outcome.err


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (404, 2), (413, 2), (408, 5), (504, 5), (500, 1), (503, 1)], ids=str
)
def test_a_refused_request_exits_by_its_status_with_the_functions_words(
    status: int, code: int, run: Any, deployed: Any
) -> None:
    deployed.answer = Answer(status, {}, b'{"error": "input x: expected FP32"}', 0.001)
    outcome = run("invoke", "echo", "-d", "{}")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err == f"error: echo answered {status}: input x: expected FP32\n"


def test_an_answer_that_is_no_open_inference_document_is_shown_as_it_is(run: Any, deployed: Any) -> None:
    deployed.answer = Answer(200, {}, b"plain words", 0.001)
    assert run("invoke", "echo", "-d", "{}").out == "plain words\n"
    deployed.answer = Answer(200, {}, b"[1, 2]", 0.001)
    assert json.loads(run("invoke", "echo", "-d", "{}").out) == [1, 2]


@pytest.mark.parametrize(
    "args",
    [
        ["invoke", "ecko", "-d", "{}"],
        ["invoke", "ecko", "--example"],
        ["describe", "ecko"],
        ["logs", "ecko"],
        ["delete", "ecko", "-y"],
    ],
    ids=lambda args: " ".join(args),
)
def test_an_unknown_function_is_answered_with_the_nearest(args: list[str], run: Any, deployed: Any) -> None:
    outcome = run(*args)
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith("error: there is no function 'ecko' on memory\nhint: did you mean 'echo'?\n")


def test_list_in_every_form(run: Any, deployed: Any, model: Path) -> None:
    run("deploy", model, "--name", "again")
    assert run("list", "-o", "name").out == "again\necho\n"
    assert run("list", "-o", "url").out == "memory:again\nmemory:echo\n"
    heads, first, second = run("list").out.splitlines()
    assert heads.split() == ["NAME", "READY", "REVISION", "INSTANCES", "AGE", "URL"]
    assert first.split()[:4] == ["again", "yes", "again-00001", "1"]
    assert second.split()[-1] == "memory:echo"
    assert "32 MiB" in run("list", "-o", "wide").out
    told = run("list", "-o", "json").json
    assert told["schema"] == "mlfn.functions/v1"
    assert [each["name"] for each in told["functions"]] == ["again", "echo"]


def test_an_empty_list_is_empty_data_and_a_word_for_people(run: Any, world: Any) -> None:
    empty = run("list")
    assert (empty.code, empty.out) == (0, "")
    assert "mlfn deploy MODEL" in empty.err
    assert run("list", "-o", "json").json == {"schema": "mlfn.functions/v1", "functions": []}
    assert (run("list", "-o", "name").out, run("list", "-o", "name").err) == ("", "")


def test_describe_as_a_document(run: Any, deployed: Any) -> None:
    told = run("describe", "echo", "-o", "json").json
    assert told["schema"] == "mlfn.function/v1"
    assert told["created_at"] == "2023-11-14T22:13:20.000Z"
    assert told["instances"][0]["started_at"] == told["created_at"]
    assert told["revisions"][0]["name"] == "echo-00001"
    assert told["traffic"] == [{"revision": "echo-00001", "percent": 100, "tag": "", "url": ""}]
    assert told["last_errors"] == ["it was tired"]
    assert told["decisions"][0]["reason"] == "first request"
    assert told["signature"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert told["signature"]["batch_axis"] == 0
    assert told["settings"]["window_s"] == 60
    assert yaml.safe_load(run("describe", "echo", "-o", "yaml").out) == told
    assert run("describe", "echo", "-o", "url").out == "memory:echo\n"


def test_describe_as_a_page(run: Any, deployed: Any) -> None:
    page = run("describe", "echo").out
    for expected in ("echo-00001", "100 %", "first request", "it was tired", "N x 4", "i-1", "32 MiB"):
        assert expected in page


def test_logs_print_lines_and_only_lines(run: Any, deployed: Any) -> None:
    deployed.log = (LogLine("i-1", '{"n": 1}'), LogLine("i-2", '{"n": 2}'))
    assert run("logs", "echo").out == '{"n": 1}\n{"n": 2}\n'
    assert run("logs", "echo", "--tail", "1").out == '{"n": 2}\n'
    assert run("logs", "echo", "--prefix", "--tail", "1").out == 'i-2 {"n": 2}\n'
    followed = run("logs", "echo", "-f")
    assert (followed.code, followed.out) == (130, '{"n": 1}\n{"n": 2}\n')


def test_delete_wants_a_yes(run: Any, deployed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    refused = run("delete", "echo")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.endswith("hint: mlfn delete echo --yes\n")
    assert "echo" in deployed.functions
    done = run("delete", "echo", "--yes", "-o", "json")
    assert done.json == {"schema": "mlfn.deleted/v1", "name": "echo", "platform": "memory"}
    assert deployed.functions == {}


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, []), ("n", 1, ["echo"]), ("", 1, ["echo"])])
def test_delete_asks_on_a_terminal(
    answer: str, code: int, left: list[str], run: Any, deployed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    outcome = run("delete", "echo")
    assert (outcome.code, outcome.out, list(deployed.functions)) == (code, "", left)
    assert "delete echo with all its revisions? [y/N]" in outcome.err


def test_an_option_from_the_environment(run: Any, deployed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFN_OUTPUT", "json")
    monkeypatch.setenv("MLFN_DELETE_YES", "1")
    assert run("delete", "echo").json["name"] == "echo"
