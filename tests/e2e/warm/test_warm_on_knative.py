"""Pings on a real cluster: a PingSource keeps one pod over many windows, a CronJob where Eventing is not for us."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

IRIS = Path(__file__).resolve().parents[3] / "examples" / "iris" / "model.onnx"
WINDOW_S = 6
PERIOD_S = 4
WINDOWS = 10
SCALING_ROLE = {
    "serving.knative.dev": ["*"],
    "batch": ["*"],
    "apps": ["deployments", "replicasets"],
    "": ["pods", "pods/log", "pods/portforward", "events", "services"],
}


@pytest.fixture
def without_eventing(cli: Any, tmp_path: Path) -> Path:
    """Give the kubeconfig of a user who may deploy, but not make PingSources."""
    rules = [{"apiGroups": [group], "resources": what, "verbs": ["*"]} for group, what in SCALING_ROLE.items()]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "deployer"},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": cli.namespace}],
    }
    for thing in (account, role, binding):
        cli.cluster.kubectl("apply", "-n", cli.namespace, "-f", "-", stdin=json.dumps(thing))
    token = cli.cluster.kubectl("create", "token", "deployer", "-n", cli.namespace, "--duration=1h").strip()
    config = json.loads(cli.cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    config["users"] = [{"name": "deployer", "user": {"token": token}}]
    for each in config["contexts"]:
        each["context"]["user"] = "deployer"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def deleted(cli: Any) -> Iterator[None]:
    """Delete iris at the end, whatever it has become."""
    yield
    cli.run("delete", "iris", "--yes")


def pods(cli: Any) -> list[str]:
    """The names of the pods of iris that are not on their way out."""
    found = cli.cluster.objects("pods", "-n", cli.namespace, "-l", "serving.knative.dev/service=iris")
    return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]


def pings(cli: Any, pod: str) -> int:
    """How many pings a pod has written down."""
    log = cli.cluster.kubectl("logs", pod, "-n", cli.namespace, "-c", "function", check=False)
    return sum('"warm_ping":true' in line for line in log.splitlines())


@pytest.mark.usefixtures("deleted")
def test_a_ping_source_keeps_one_pod_and_without_it_it_goes(cli: Any, eventually: Callable[..., Any]) -> None:
    told = cli.json("deploy", IRIS, "--name", "iris", "--window", f"{WINDOW_S}s", "--warm", f"{PERIOD_S}s")
    assert f"a ping every {PERIOD_S} s from PingSource" in told["warm"]
    (source,) = cli.cluster.objects("pingsources", "-n", cli.namespace)
    assert source["spec"]["schedule"] == f"*/{PERIOD_S} * * * * *"
    assert source["metadata"]["ownerReferences"][0]["name"] == "iris"
    # The adapter of all PingSources starts with the first one, so that the pod may have gone once by then.
    eventually(lambda: any(pings(cli, pod) for pod in pods(cli)), within_s=180)
    (kept,) = pods(cli)
    enough = pings(cli, kept) + WINDOWS * WINDOW_S // PERIOD_S
    eventually(lambda: pings(cli, kept) >= enough, within_s=WINDOWS * WINDOW_S * 3)
    assert pods(cli) == [kept]
    status = cli.json("warm", "status", "iris")
    assert (status["sender"], status["period_s"], status["last_error"]) == ("PingSource", PERIOD_S, "")

    cli.ok("deploy", IRIS, "--name", "iris", "--window", f"{WINDOW_S}s", "--warm", "off")
    assert cli.cluster.objects("pingsources", "-n", cli.namespace) == []
    eventually(lambda: pods(cli) == [], within_s=180)
    assert cli.json("warm", "status", "iris")["period_s"] == 0


@pytest.mark.usefixtures("deleted")
def test_where_ping_sources_are_forbidden_a_cron_job_pings_with_the_functions_image(
    cli: Any, without_eventing: Path, eventually: Callable[..., Any]
) -> None:
    plain = {"MLFN_CLUSTER_KUBECONFIG": str(without_eventing)}
    told = cli.json("deploy", IRIS, "--name", "iris", "--warm", "45s", **plain)
    assert "a ping every 60 s from CronJob (window 80 s)" in told["warm"]
    (job,) = cli.cluster.objects("cronjobs", "-n", cli.namespace)
    assert (job["spec"]["schedule"], job["spec"]["concurrencyPolicy"]) == ("* * * * *", "Forbid")
    (pod,) = pods(cli)
    before = pings(cli, pod)
    cli.cluster.kubectl("create", "job", "once", "--from=cronjob/iris-warm", "-n", cli.namespace)
    cli.cluster.kubectl("wait", "job/once", "-n", cli.namespace, "--for=condition=Complete", "--timeout=150s")
    assert "answered 200" in cli.cluster.kubectl("logs", "job/once", "-n", cli.namespace)
    assert pings(cli, pod) > before
    assert cli.json("warm", "status", "iris", **plain)["sender"] == "CronJob"

    cli.ok("delete", "iris", "--yes", **plain)
    eventually(lambda: cli.cluster.objects("cronjobs", "-n", cli.namespace) == [])


@pytest.mark.usefixtures("deleted")
def test_pings_from_a_terminal_and_plans_for_what_is_deployed(cli: Any, eventually: Callable[..., Any]) -> None:
    cli.ok("deploy", IRIS, "--name", "iris", "--window", f"{WINDOW_S}s")
    plan = cli.json("warm", "plan", "iris", "--period", f"{PERIOD_S}s")
    assert (plan["sender"], plan["period_s"], plan["safe_period_s"], plan["cliff_s"]) == ("PingSource", PERIOD_S, 4, 10)
    refused = cli.run("deploy", IRIS, "--name", "iris", "--window", f"{WINDOW_S}s", "--warm", "6s")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "hint: --warm 4s is safe" in refused.stderr

    (pod,) = pods(cli)
    words = [str(Path(sys.executable).with_name("mlfn")), "warm", "run", "iris", "--period", "2s"]
    runs = subprocess.Popen(words, env=cli.environment(), cwd=cli.home, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: pings(cli, pod) >= 3)
    finally:
        runs.send_signal(signal.SIGTERM)
        _, said = runs.communicate(timeout=60)
    assert runs.returncode == 0, said
    assert "0 of them failed" in said
