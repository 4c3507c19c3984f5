"""What `mlfn manifest` writes, as kubectl, kustomize and Helm themselves read it; and the Role that the guide names."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = REPOSITORY / "examples" / "iris" / "model.onnx"
GUIDE = REPOSITORY / "docs" / "guides" / "deploy-on-kubernetes.md"
HELM = "helm.sh/helm/v3/cmd/helm@v3.18.6"
PLATFORMS = ("knative", "kubernetes")
SPECS: dict[str, list[object]] = {
    "plain": [],
    "scaled": ["--min-scale", 2, "--max-scale", 4, "--cpu", "100m", "--env", "A={{ .Values.x }}", "--env", "B=1e3"],
}


@pytest.fixture(scope="session")
def helm() -> str:
    """Give the real Helm: the one installed, else one built from its Go module, kept beside the cluster's programs."""
    found = shutil.which("helm")
    folder = Path.home() / ".cache" / "mlfn-cluster" / "helm"
    if found is None and not (folder / "helm").exists():
        # As the cluster's harness does: two at a time is what the machine has.
        env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
        subprocess.run(["go", "install", "-p", "2", HELM], env=env, check=True, capture_output=True, timeout=540)
    return found or str(folder / "helm")


@pytest.fixture(scope="module")
def image(cluster: Any, namespace: str) -> str:
    """Give the reference of an image that nobody has to pull."""
    return f"{cluster.registry}/{namespace}/iris@sha256:{'0' * 64}"


@pytest.fixture(params=PLATFORMS)
def on(request: pytest.FixtureRequest, cli: Any) -> Any:
    """Give each platform in turn."""
    return cli.on(request.param)


def write(on: Any, image: str, *more: object) -> str:
    """Return what is written where no namespace is named."""
    text: str = on.ok("manifest", MODEL, "--name", "iris", "--image", image, *more, MLFN_CLUSTER_NAMESPACE="")
    return text


def by_kind(text: str) -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(text) if each}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_the_cluster_takes_what_is_written(on: Any, image: str, form: str, spec: list[object]) -> None:
    text = write(on, image, *spec, "-o", form)
    told = on.cluster.kubectl("apply", "--dry-run=server", "-n", on.namespace, "-f", "-", stdin=text)
    assert "iris created (server dry run)" in told


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_kustomize_makes_the_same_of_it(on: Any, image: str, tmp_path: Path, spec: list[object]) -> None:
    write(on, image, *spec, "--kustomize", tmp_path / "base")
    assert by_kind(on.cluster.kubectl("kustomize", str(tmp_path / "base"))) == by_kind(write(on, image, *spec))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_helm_makes_the_same_of_it(on: Any, image: str, tmp_path: Path, helm: str, spec: list[object]) -> None:
    write(on, image, *spec, "--helm", tmp_path / "chart")
    subprocess.run([helm, "lint", "--strict", tmp_path / "chart"], check=True, capture_output=True, timeout=60)
    made = subprocess.run(
        [helm, "template", "release", tmp_path / "chart"], check=True, capture_output=True, text=True, timeout=60
    )
    assert by_kind(made.stdout) == by_kind(write(on, image, *spec))


def test_the_role_of_the_guide_is_all_that_is_needed(cli: Any, tmp_path: Path) -> None:
    kubernetes, kubectl, namespace = cli.on("kubernetes"), cli.cluster.kubectl, cli.namespace
    block = GUIDE.read_text().split("```yaml\napiVersion: rbac")[1].split("```")[0]
    kubectl("apply", "-n", namespace, "-f", "-", stdin=f"apiVersion: rbac{block}")
    kubectl("create", "serviceaccount", "deployer", "-n", namespace)
    account = f"--serviceaccount={namespace}:deployer"
    kubectl("create", "rolebinding", "deployer", "--role=mlfn", account, "-n", namespace)
    token = kubectl("create", "token", "deployer", "-n", namespace).strip()
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    authority = tmp_path / "ca.crt"
    cluster = config["clusters"][0]["cluster"]
    held = cluster.get("certificate-authority-data")
    authority.write_bytes(base64.b64decode(held) if held else Path(cluster["certificate-authority"]).read_bytes())
    config["users"][0]["user"] = {"token": token}
    config["clusters"][0]["cluster"] = {"server": cluster["server"], "certificate-authority": str(authority)}
    (tmp_path / "config").write_text(json.dumps(config))
    as_deployer = {"MLFN_CLUSTER_KUBECONFIG": str(tmp_path / "config")}

    first = kubernetes.json("deploy", MODEL, "--name", "roled", "--min-scale", 1, **as_deployer)
    kubernetes.json(
        "deploy", MODEL, "--name", "roled", "--min-scale", 1, "--max-scale", 2, "--env", "A=b", **as_deployer
    )
    kubernetes.ok("rollback", "roled", "--to", first["revision"], **as_deployer)
    failed = kubernetes.run("deploy", MODEL, "--name", "roled", "--min-scale", 2, "--env", "MLFN_PORT=x", **as_deployer)
    assert failed.returncode == 7, failed.stderr
    assert f"{first['revision']} serves on" in failed.stderr
    kubernetes.ok("invoke", "roled", "--example", **as_deployer)
    kubernetes.ok("logs", "roled", "--tail", 3, **as_deployer)
    assert kubernetes.json("describe", "roled", **as_deployer)["ready"]
    kubernetes.ok("delete", "roled", "--yes", **as_deployer)
    assert kubernetes.json("list", **as_deployer)["functions"] == []
