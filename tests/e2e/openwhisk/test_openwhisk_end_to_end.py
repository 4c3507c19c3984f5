"""A model as an OpenWhisk action: deployed, asked, changed under load, brought back, failing in every way."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest


def labels(answer: Any) -> list[int]:
    """Return the labels of an Open Inference answer."""
    return next(each["data"] for each in answer["outputs"] if each["name"] == "label")


@pytest.fixture
def name(whisk: Any) -> Any:
    """A function's name that is free, and free again afterwards."""
    yield "e2e-iris"
    whisk.run("delete", "e2e-iris", "--yes")


def caller(whisk: Any) -> tuple[str, dict[str, str]]:
    """Return the API's address and the header of a caller."""
    if "WHISK_APIHOST" in whisk.environment:
        host, auth = whisk.environment["WHISK_APIHOST"], whisk.environment["WHISK_AUTH"]
    else:
        lines = Path(whisk.environment["WSK_CONFIG_FILE"]).read_text().splitlines()
        properties = dict(line.split("=", 1) for line in lines)
        host, auth = properties["APIHOST"], properties["AUTH"]
    return host, {"authorization": "Basic " + base64.b64encode(auth.encode()).decode()}


def test_deploy_ask_change_and_bring_back(whisk: Any, name: str, iris: Path, question: Path) -> None:
    first = whisk.json("deploy", str(iris), "--name", name)
    assert (first["changed"], first["ready"], first["revision"]) == (True, True, f"{name}@00001")
    host, headers = caller(whisk)
    url = f"{host}/api/v1/namespaces/_/actions/{name}?blocking=true&result=true"
    body = json.loads(question.read_text())
    answer = httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)
    assert labels(answer.json()) == [0, 1, 2]
    assert "0, 1, 2" in whisk.ok("invoke", name, "-d", f"@{question}")
    assert whisk.json("deploy", str(iris), "--name", name)["changed"] is False
    second = whisk.json("deploy", str(iris), "--name", name, "--memory", "300Mi")
    assert (second["revision"], second["previous"]) == (f"{name}@00002", f"{name}@00001")
    whisk.ok("rollback", name)
    status = whisk.json("describe", name)
    assert [share["revision"] for share in status["traffic"]] == [f"{name}@00001"]
    assert any(f"{name}@00002" in line for line in whisk.ok("logs", name).splitlines())
    whisk.ok("delete", name, "--yes")
    assert whisk.run("describe", name).returncode == 4


def test_a_public_function_is_a_web_action(whisk: Any, name: str, iris: Path, question: Path) -> None:
    url = whisk.json("deploy", str(iris), "--name", name, "--public")["url"]
    answer = httpx.post(url, json=json.loads(question.read_text()), timeout=60, trust_env=False)
    assert answer.status_code == 200
    assert labels(answer.json()) == [0, 1, 2]


def test_no_request_is_lost_while_revisions_change(whisk: Any, name: str, iris: Path, question: Path) -> None:
    whisk.ok("deploy", str(iris), "--name", name)
    host, headers = caller(whisk)
    url = f"{host}/api/v1/namespaces/_/actions/{name}?blocking=true&result=true"
    body = json.loads(question.read_text())
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(headers=headers, timeout=120, trust_env=False) as client:
            while not done.is_set():
                statuses.append(client.post(url, json=body).status_code)

    callers = [threading.Thread(target=ask) for _ in range(2)]
    for each in callers:
        each.start()
    try:
        whisk.ok("deploy", str(iris), "--name", name, "--memory", "300Mi")
        whisk.ok("rollback", name)
    finally:
        done.set()
        for each in callers:
            each.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}


def test_a_limit_of_the_server_is_named(whisk: Any, name: str, iris: Path) -> None:
    done = whisk.run("deploy", str(iris), "--name", name, "--memory", "64Mi")
    assert done.returncode == 2
    assert "--memory" in done.stderr


def test_a_wrong_credential_is_named(whisk: Any) -> None:
    done = whisk.run("list", WHISK_AUTH="nobody:nothing")
    assert done.returncode == 3
    assert "credential" in done.stderr
    assert "nothing" not in done.stderr


def test_errors_of_callers_are_answers(whisk: Any, name: str, iris: Path) -> None:
    whisk.ok("deploy", str(iris), "--name", name)
    done = whisk.run("invoke", name, "-d", '{"inputs": 3}')
    assert done.returncode == 2
    assert '"inputs"' in done.stderr


def test_after_a_restart_of_the_server_a_deploy_makes_all_again(whisk: Any, name: str, iris: Path) -> None:
    if whisk.restart is None:
        pytest.skip("somebody else's server is not restarted")
    whisk.ok("deploy", str(iris), "--name", name)
    whisk.restart()
    assert whisk.run("describe", name).returncode == 4  # entities of the small server live in memory
    assert whisk.json("deploy", str(iris), "--name", name)["changed"] is True


def test_touches_keep_as_many_containers_as_they_are(whisk: Any, name: str, iris: Path) -> None:
    whisk.ok("deploy", str(iris), "--name", name)
    mlfn = str(Path(sys.executable).parent / "mlfn")
    told = subprocess.run(
        ["timeout", "--signal=INT", "20", mlfn, "warm", "run", name, "--instances", "3", "--period", "5s"],
        env=whisk.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stderr
    assert "touching 3 containers" in told
    assert "0 of them failed" in told
    found = whisk.json("warm", "status", name)
    assert found["pings"] >= 1 + 3 * 3  # the deploy's own, and three rounds
    assert found["cold_pings"] <= 1 + 3


def test_the_platform_keeps_the_promises_of_all_platforms(whisk: Any) -> None:
    repository = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--timeout=300", "-p", "no:cacheprovider", "tests/conformance"],
        cwd=repository,
        env={**whisk.environment, "MLFN_CONFORMANCE": "openwhisk"},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
