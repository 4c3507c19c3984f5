"""From the first deploy to the deletion, as somebody at a terminal does it."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

from onnx import helper


def post(url: str, body: bytes) -> Any:
    """Send a request as any client would."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_a_function_lives_and_goes(cli: Any, iris: Path) -> None:
    first = cli.run("deploy", iris)
    assert first.returncode == 0, first.stderr
    url = first.stdout.splitlines()[-1]
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/iris")
    assert "revision iris-00001" in first.stderr

    again = cli.json("deploy", iris)
    assert (again["changed"], again["revision"], again["url"]) == (False, "iris-00001", url)

    body, expected = iris.with_name("request.json"), json.loads(iris.with_name("expected.json").read_text())
    answer = cli.json("invoke", "iris", "-d", f"@{body}")
    assert [each["name"] for each in answer["outputs"]] == [each["name"] for each in expected["outputs"]]
    assert answer["outputs"][0]["data"] == expected["outputs"][0]["data"]
    assert post(f"{url}/v2/models/iris/infer", body.read_bytes())["outputs"] == answer["outputs"]
    assert cli.run("invoke", "iris", "-d", "-", stdin=body.read_text()).returncode == 0
    assert cli.run("invoke", "iris", "--example").returncode == 0

    told = cli.json("describe", "iris")
    assert told["ready"] is True
    assert [each["name"] for each in told["revisions"]] == ["iris-00001"]
    assert [each["state"] for each in told["instances"]] == ["ready"]
    assert told["digest"] == cli.json("inspect", iris)["digest"]
    assert [each["name"] for each in cli.json("list")["functions"]] == ["iris"]
    assert "iris-00001" in cli.run("describe", "iris").stdout
    assert any(json.loads(line).get("event") == "ready" for line in cli.run("logs", "iris").stdout.splitlines())

    changed = cli.json("deploy", iris, "--concurrency", "4")
    assert (changed["changed"], changed["revision"], changed["previous"]) == (True, "iris-00002", "iris-00001")
    assert changed["url"] == url

    deleted = cli.run("delete", "iris", "--yes")
    assert (deleted.returncode, deleted.stdout) == (0, "")
    assert cli.run("describe", "iris").returncode == 4
    cli.json("local", "prune")
    assert cli.left_behind() == []


def test_a_refused_request_names_the_input(cli: Any, iris: Path) -> None:
    cli.json("deploy", iris)
    wrong = json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]})
    refused = cli.run("invoke", "iris", "-d", wrong)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: iris answered 400: ")
    assert "X" in refused.stderr
    told = json.loads(cli.run("invoke", "iris", "-d", wrong, "-o", "json").stderr)
    assert told["error"]["kind"] == "invalid_input"


def test_a_near_name_is_offered(cli: Any, iris: Path) -> None:
    cli.json("deploy", iris)
    for args in (["invoke", "irs", "--example"], ["describe", "irs"], ["logs", "irs"], ["delete", "irs", "--yes"]):
        done = cli.run(*args)
        assert (done.returncode, done.stdout) == (4, ""), args
        assert "hint: did you mean 'iris'?" in done.stderr


def test_a_failing_new_revision_leaves_the_old_one_serving(cli: Any, iris: Path, fails_warm_up: Path) -> None:
    url = cli.json("deploy", iris)["url"]
    failed = cli.run("deploy", fails_warm_up, "--name", "iris")
    assert (failed.returncode, failed.stdout) == (7, ""), failed.stderr
    assert failed.stderr.startswith("error: ")
    assert "iris-00001" in failed.stderr
    body = iris.with_name("request.json").read_bytes()
    assert post(f"{url}/v2/models/iris/infer", body)["outputs"]
    told = cli.json("describe", "iris")
    assert told["digest"] == cli.json("inspect", iris)["digest"]
    assert [(each["revision"], each["percent"]) for each in told["traffic"]] == [("iris-00001", 100)]


def test_a_killed_service_comes_back_on_the_same_port(cli: Any, iris: Path) -> None:
    url = cli.json("deploy", iris)["url"]
    pid = cli.service_pid()
    os.kill(pid, signal.SIGKILL)
    cli.wait_for(lambda: not cli.is_alive(pid))
    assert cli.json("local", "status")["running"] is False
    assert [each["url"] for each in cli.json("list")["functions"]] == [url]
    assert post(f"{url}/v2/models/iris/infer", iris.with_name("request.json").read_bytes())["outputs"]


def test_what_is_deployed_outlives_the_service(cli: Any, iris: Path) -> None:
    url = cli.json("deploy", iris)["url"]
    pid = cli.service_pid()
    assert cli.json("local", "down")["stopped"] is True
    cli.wait_for(lambda: not cli.is_alive(pid))
    assert cli.json("local", "down")["stopped"] is False
    assert cli.run("local", "up", "-o", "url").stdout == url.removesuffix("iris").rstrip("/") + "\n"
    assert cli.run("invoke", "iris", "--example").returncode == 0


def test_without_waiting_the_function_is_ready_later(cli: Any, iris: Path) -> None:
    assert cli.json("deploy", iris, "--no-wait")["ready"] is False
    cli.wait_for(lambda: cli.json("describe", "iris")["ready"])
    assert cli.run("invoke", "iris", "--example").returncode == 0


def test_settings_of_the_project_reach_the_function(cli: Any, iris: Path) -> None:
    settings = f"function:\n  model: {iris}\n  name: flowers\n  window: 9s\n  env:\n    GREETING: hello\n"
    (cli.folder / "mlfn.yaml").write_text(settings)
    assert cli.run("deploy", "-o", "name").stdout == "flowers\n"
    told = cli.json("describe", "flowers")["settings"]
    assert (told["window_s"], told["env"]) == (9, {"GREETING": "hello"})


def test_logs_are_followed_until_ctrl_c(cli: Any, iris: Path) -> None:
    cli.json("deploy", iris)
    following = cli.start("logs", "iris", "-f")
    assert json.loads(following.stdout.readline())
    cli.run("invoke", "iris", "--example")
    assert "/v2/models/iris/infer" in cli.wait_for(lambda: seen(following.stdout.readline(), "infer"))
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=20)
    assert following.returncode == 130
    assert "Traceback" not in err


def seen(line: str, word: str) -> str:
    """Return a line that has the word, nothing otherwise."""
    return line if word in line else ""


def test_a_model_of_ones_own_answers(cli: Any, save: Any) -> None:
    identity = save("echo", helper.make_node("Identity", ["x"], ["y"]))
    cli.json("deploy", identity, "--name", "echo")
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
    (output,) = cli.json("invoke", "echo", "-d", body)["outputs"]
    assert output["data"] == [1, 2, 3, 4]
