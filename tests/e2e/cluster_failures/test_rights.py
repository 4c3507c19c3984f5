"""The Role of the guide is enough and not too much: an account with exactly that lives a function's whole life."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDE = REPOSITORY / "docs" / "guides" / "rights-on-the-cluster.md"
IRIS = REPOSITORY / "examples" / "iris"
REQUEST = f"@{IRIS / 'request.json'}"
Rule = dict[str, list[str]]


def _documented() -> dict[str, dict[str, Any]]:
    """Return the roles of the guide by their names."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    roles = [yaml.safe_load(block) for block in blocks]
    return {role["metadata"]["name"]: role for role in roles}


@dataclass(frozen=True)
class Accounts:
    """Make accounts with rules."""

    cli: Any
    home: Path

    def with_rules(self, name: str, rules: list[Rule]) -> Any:
        """Return the command line for a service account that has exactly these rules in the namespace."""
        cluster, namespace = self.cli.cluster, self.cli.namespace
        group = "rbac.authorization.k8s.io"
        things = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        ]
        for thing in things:
            cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(thing))
        config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
        token = cluster.kubectl("-n", namespace, "create", "token", name, "--duration=1h").strip()
        config["users"] = [{"name": name, "user": {"token": token}}]
        config["contexts"] = [
            {"name": name, "context": {"cluster": config["clusters"][0]["name"], "user": name, "namespace": namespace}}
        ]
        config["current-context"] = name
        path = self.home / f"{name}.kubeconfig"
        path.touch(0o600)
        path.write_text(json.dumps(config))
        return replace(self.cli, cluster=replace(cluster, kubeconfig=str(path)))


@pytest.fixture
def accounts(cli: Any, tmp_path: Path) -> Accounts:
    """Give the means to make accounts."""
    return Accounts(cli, tmp_path)


@pytest.fixture
def documented(accounts: Accounts) -> Any:
    """Give the command line of an account with the Role of the guide."""
    return accounts.with_rules("as-documented", _documented()["mlfn"]["rules"])


def test_the_documented_role_is_enough_for_a_functions_whole_life(documented: Any, eventually: Any) -> None:
    name = "of-a-role"
    first = documented.json("deploy", IRIS / "model.onnx", "--name", name)
    assert first["ready"]
    assert "limits-assumed" in {each["what"] for each in first["findings"]}
    assert name in [each["name"] for each in documented.json("list")["functions"]]
    assert documented.json("invoke", name, "--data", REQUEST)["outputs"]
    assert "listening" in documented.ok("logs", name)
    second = documented.json("deploy", IRIS / "model.onnx", "--name", name, "--env", "CHANGED=1")
    assert second["previous"] == first["revision"]
    documented.ok("traffic", name, f"{first['revision']}=50", f"{second['revision']}=50")
    documented.ok("rollback", name, "--to", first["revision"])
    shown = documented.json("describe", name)
    assert [each["revision"] for each in shown["traffic"] if each["percent"] == 100] == [first["revision"]]
    documented.ok("delete", name, "--yes")
    assert documented.run("describe", name).returncode == 4


def test_the_role_for_clusters_without_knative_is_enough(accounts: Accounts) -> None:
    cli = accounts.with_rules("plain", _documented()["mlfn-kubernetes"]["rules"]).on("kubernetes")
    first = cli.json("deploy", IRIS / "model.onnx", "--name", "plainly")
    second = cli.json("deploy", IRIS / "model.onnx", "--name", "plainly", "--env", "CHANGED=1", "--max-scale", "2")
    assert second["previous"] == first["revision"]
    assert [each["name"] for each in cli.json("list")["functions"]] == ["plainly"]
    assert cli.json("invoke", "plainly", "--data", REQUEST)["outputs"]
    assert "listening" in cli.ok("logs", "plainly")
    cli.ok("rollback", "plainly", "--to", first["revision"])
    assert cli.json("describe", "plainly")["ready"]
    cli.ok("delete", "plainly", "--yes")


def test_the_documented_role_is_enough_to_tell_a_cause(documented: Any) -> None:
    done = documented.run("deploy", IRIS / "model.onnx", "--name", "of-a-role-fails", "--secret-env", "A=nosuch/a")
    assert done.returncode == 7
    assert "the secret 'nosuch' does not exist" in done.stderr


def test_the_documented_role_reads_no_secret_and_reaches_no_other_namespace(documented: Any) -> None:
    asked = ("-n", documented.namespace, "auth", "can-i")
    assert documented.cluster.kubectl(*asked, "get", "secrets", check=False).strip() == "no"
    assert documented.cluster.kubectl(*asked, "patch", "services.serving.knative.dev", check=False).strip() == "yes"
    refused = documented.run("list", "-n", "default")
    assert refused.returncode == 3
    assert "in namespace 'default'" in refused.stderr


WITHOUT = {
    "create services": (
        ("serving.knative.dev", "services", "create"),
        ("deploy", IRIS / "model.onnx", "--name", "kept"),
    ),
    "patch services": (("serving.knative.dev", "services", "patch"), ("deploy", IRIS / "model.onnx", "--name", "kept")),
    "list services": (("serving.knative.dev", "services", "list"), ("list",)),
    "get services": (("serving.knative.dev", "services", "get"), ("describe", "served")),
    "delete services": (("serving.knative.dev", "services", "delete"), ("delete", "served", "--yes")),
    "list revisions": (("serving.knative.dev", "revisions", "list"), ("describe", "served")),
    "get pods/log": (("", "pods/log", "get"), ("logs", "served")),
}


@pytest.fixture
def served(cli: Any) -> Iterator[None]:
    """See that a function is there, which the commands that follow may not touch."""
    cli.ok("deploy", IRIS / "model.onnx", "--name", "served")
    yield
    cli.ok("delete", "served", "--yes")


@pytest.mark.usefixtures("served")
def test_a_missing_rule_is_named_with_the_command_that_grants_it(accounts: Accounts) -> None:
    rules = _documented()["mlfn"]["rules"]
    for number, (rule, (lost, command)) in enumerate(WITHOUT.items()):
        account = f"without-{number}"
        done = accounts.with_rules(account, _less(rules, *lost)).run(*command)
        group, resource, verb = lost
        full = f"{resource}.{group}" if group else resource
        assert done.returncode == 3, (rule, done.stdout, done.stderr)
        assert f"may not {verb} {full} in namespace" in done.stderr, rule
        assert f"--verb={verb}" in done.stderr, rule
        assert account in done.stderr, rule


def test_the_command_that_is_named_grants_the_right(accounts: Accounts) -> None:
    """Who runs the cluster pastes the line of the hint."""
    cli = accounts.with_rules(
        "pasted", _less(_documented()["mlfn"]["rules"], "serving.knative.dev", "services", "list")
    )
    told = json.loads(cli.run("list", "-o", "json").stderr)["error"]
    (line,) = [hint for hint in told["hints"] if "kubectl create role" in hint]
    for command in line.partition("runs: ")[2].split(" && "):
        accounts.cli.cluster.kubectl(*command.split()[1:])
    assert cli.run("list").returncode == 0


def test_the_role_for_limits_is_enough_to_read_them(accounts: Accounts, applied: Callable[..., None]) -> None:
    name, namespace = "reads-limits", accounts.cli.namespace
    cli = accounts.with_rules(name, _documented()["mlfn"]["rules"])
    role = _documented()["mlfn-limits"]
    role["metadata"]["name"] += f"-{namespace}"
    binding = {
        "apiVersion": role["apiVersion"],
        "kind": "RoleBinding",
        "metadata": role["metadata"],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    kubectl = accounts.cli.cluster.kubectl
    for thing in (role, binding):
        kubectl("apply", "-f", "-", stdin=json.dumps(thing))
    try:
        findings = cli.json("deploy", IRIS / "model.onnx", "--name", "with-limits")["findings"]
        assert "limits-assumed" not in {each["what"] for each in findings}
        cli.ok("delete", "with-limits", "--yes")
    finally:
        for thing in (binding, role):
            kubectl("delete", "-f", "-", stdin=json.dumps(thing))


def test_the_role_for_more_is_enough_for_pings_and_for_a_way_in_of_its_own(accounts: Accounts) -> None:
    documented = _documented()
    cli = accounts.with_rules("more", [*documented["mlfn"]["rules"], *documented["mlfn-more"]["rules"]])
    deployed = cli.json("deploy", IRIS / "model.onnx", "--name", "with-more", "--warm", "45s")
    assert "warm-pings-refused" not in {each["what"] for each in deployed["findings"]}
    label = ("-n", cli.namespace, "-l", "app.kubernetes.io/name=with-more", "-o", "name")
    kinds = ("pingsources.sources.knative.dev", "cronjobs.batch")
    assert sum(cli.cluster.kubectl("get", kind, *label, check=False).count("/") for kind in kinds) == 1
    assert cli.json("invoke", "with-more", "--data", REQUEST, MLFN_INGRESS="")["outputs"]
    cli.ok("delete", "with-more", "--yes")


def test_pods_pass_the_restricted_profile_that_the_namespace_enforces(cli: Any) -> None:
    """The control: a pod that does not pass is refused there."""
    labels = json.loads(cli.cluster.kubectl("get", "namespace", cli.namespace, "-o", "json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    plain = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "plain", "image": "nosuch.example/plain"}]},
    }
    assert cli.cluster.kubectl(
        "-n", cli.namespace, "create", "--dry-run=server", "-o", "name", "-f", "-", stdin=json.dumps(plain), check=False
    ) == ""  # fmt: skip
    deployed = cli.json("deploy", IRIS / "model.onnx", "--name", "restricted")
    selector = f"serving.knative.dev/revision={deployed['revision']}"
    (pod, *_) = cli.cluster.objects("pods", "-n", cli.namespace, "-l", selector)
    assert all(each["ready"] for each in pod["status"]["containerStatuses"])
    assert "kube-api-access" not in json.dumps(pod["spec"]["volumes"])
    cli.ok("delete", "restricted", "--yes")


def _less(rules: list[Rule], group: str, resource: str, verb: str) -> list[Rule]:
    """Return the rules without one verb on one resource."""
    left = []
    for rule in rules:
        if group in rule["apiGroups"] and resource in rule["resources"]:
            left.append({**rule, "verbs": [each for each in rule["verbs"] if each != verb]})
        else:
            left.append(rule)
    return [rule for rule in left if rule["verbs"]]
