"""`mlfn manifest` and `mlfn deploy --dry-run client`: what they write is what a deploy applies; no cluster is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlfn.delivery.documents import document, documents
from mlfn.delivery.plans import Difference, differences
from mlfn.function import FunctionSpec, ImageRef
from mlfn.models import open_model
from mlfn.platforms import DeployRequest, Planned
from mlfn.plugins import PLATFORMS, load

DIGEST = "sha256:" + "5" * 64
IMAGE = f"registry.example.com:5000/team/echo@{DIGEST}"
ODD = {"BRACES": "{{ .Values.image }}", "WORD": "on", "FLOAT": "1e3", "MARK": "{{image}}", "LINES": "a\n{{b}}: '\"\\"}


@pytest.fixture
def written(run: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what `mlfn manifest` does for a platform."""
    monkeypatch.setenv("MLFN_CLUSTER_KUBECONFIG", "/does/not/exist")

    def write(platform: str, *more: object) -> Any:
        return run("manifest", model, "--platform", platform, "--image", IMAGE, *more)

    return write


def options() -> list[str]:
    return [word for name, value in ODD.items() for word in ("--env", f"{name}={value}")]


def objects_of(platform: str, model: Path, **spec: Any) -> list[dict[str, Any]]:
    """Return what the platform itself would apply."""
    image = ImageRef("registry.example.com:5000", "team/echo", "", DIGEST)
    request = DeployRequest(FunctionSpec("echo", **spec), open_model(model), image=image)
    return list(load(PLATFORMS, platform)({}).manifests(request))


def documents_in(text: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(text) if each]


@pytest.mark.parametrize("platform", ["knative", "kubernetes"])
def test_what_is_written_is_what_a_deploy_applies(written: Any, model: Path, platform: str) -> None:
    done = written(platform, "--min-scale", 1, "--max-scale", 3, *options())
    assert (done.code, done.err) == (0, "")
    assert documents_in(done.out) == objects_of(platform, model, min_scale=1, max_scale=3, env=ODD)
    listed = written(platform, "-o", "json").json
    assert (listed["schema"], listed["kind"], listed["apiVersion"]) == ("mlfn.manifest/v1", "List", "v1")
    assert listed["items"] == objects_of(platform, model)


def test_a_namespace_that_is_named_stands_in_the_objects(written: Any) -> None:
    done = written("kubernetes", "-n", "flowers")
    assert {each["metadata"]["namespace"] for each in documents_in(done.out)} == {"flowers"}


@pytest.mark.parametrize("platform", ["knative", "kubernetes"])
@pytest.mark.parametrize("spec", [{}, {"min_scale": 2, "max_scale": 5, "cpu": "500m"}], ids=["plain", "scaled"])
def test_a_chart_renders_to_the_same_objects(
    written: Any, model: Path, tmp_path: Path, platform: str, spec: dict[str, Any]
) -> None:
    flags = [word for key, value in spec.items() for word in (f"--{key.replace('_', '-')}", value)]
    done = written(platform, "--helm", tmp_path / "chart", *flags, *options())
    assert done.code == 0, done.err
    assert (tmp_path / "chart" / "Chart.yaml").exists()
    chart = yaml.safe_load((tmp_path / "chart" / "Chart.yaml").read_text())
    assert (chart["apiVersion"], chart["name"], chart["type"]) == ("v2", "echo", "application")
    wanted = {"cpu_millis": 500} if spec else {}
    expected = objects_of(platform, model, env=ODD, **{k: v for k, v in spec.items() if k != "cpu"}, **wanted)
    assert by_kind(rendered(tmp_path / "chart", {})) == by_kind(expected)


def test_a_chart_takes_its_values(written: Any, tmp_path: Path) -> None:
    assert written("kubernetes", "--helm", tmp_path / "chart", "--max-scale", 3).code == 0
    other = {
        "image": {"repository": "mirror.example.com/echo", "digest": DIGEST},
        "scaling": {"minScale": 4, "maxScale": 9},
    }
    made = {each["kind"]: each for each in rendered(tmp_path / "chart", other)}
    container = made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"mirror.example.com/echo@{DIGEST}"
    assert made["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 4
    assert made["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 9
    assert written("knative", "--helm", tmp_path / "other").code == 0
    (service,) = rendered(tmp_path / "other", {"scaling": {"minScale": 2}})
    assert service["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/min-scale"] == "2"


def test_a_base_for_kustomize_names_every_file(written: Any, model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    done = written("kubernetes", "--kustomize", base, "-n", "flowers", "--min-scale", 2, "-o", "json").json
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
    assert sorted([*kustomization["resources"], "kustomization.yaml"]) == done["files"]
    assert kustomization["namespace"] == "flowers"
    assert kustomization["images"] == [{"name": "registry.example.com:5000/team/echo", "digest": DIGEST}]
    found = [yaml.safe_load((base / name).read_text()) for name in kustomization["resources"]]
    assert by_kind(found) == by_kind(objects_of("kubernetes", model, min_scale=2))


def test_writing_again_takes_away_what_is_no_longer_needed_and_nothing_else(written: Any, tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert written("kubernetes", "--kustomize", base, "--min-scale", 2).code == 0
    (base / "own.yaml").write_text("kind: ConfigMap\n")
    again = written("kubernetes", "--kustomize", base, "-o", "json").json
    assert again["removed"] == ["poddisruptionbudget.yaml"]
    assert {path.name for path in base.iterdir()} == {"own.yaml", *again["files"]}


def test_a_chart_that_cannot_be_written_whole_is_left_as_it_was(written: Any, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    chart.mkdir()
    (chart / "Chart.yaml").write_text("an older one\n")
    (chart / "templates").write_text("no folder\n")
    done = written("kubernetes", "--helm", chart)
    assert done.code == 2
    assert "cannot be written" in done.err
    assert {path.name: path.read_text() for path in chart.iterdir()} == {
        "Chart.yaml": "an older one\n",
        "templates": "no folder\n",
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--image", "registry.example.com/echo:1"], "has no digest"),
        (["--image", IMAGE, "--helm", "a", "--kustomize", "b"], "exclude each other"),
        (["--image", IMAGE, "--platform", "local"], "no manifests"),
        (["--image", IMAGE, "--helm", "taken"], "cannot be written"),
        ([], "no registry given"),
        (["--image", IMAGE, "--platform", "kubernetes", "--concurrency", "3"], "has no --concurrency"),
    ],
    ids=["tag", "both", "local", "file", "registry", "foreign"],
)
def test_what_cannot_be_written_is_refused(
    run: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    monkeypatch.delenv("MLFN_REGISTRY", raising=False)
    monkeypatch.setenv("MLFN_PLATFORM", "knative")
    (tmp_path / "taken").write_text("a file")
    done = run("manifest", model, *[str(tmp_path / word) if word in ("a", "b", "taken") else word for word in options])
    assert done.code == 2
    assert says in done.err


def test_a_dry_run_needs_a_platform_of_objects(world: Any, run: Any, model: Path) -> None:
    done = run("deploy", model, "--dry-run", "client")
    assert (done.code, done.out) == (2, "")
    assert "no manifests" in done.err
    assert run("list", "-o", "name").out == ""


def test_differences_are_told_by_path_without_the_servers_own() -> None:
    before = {
        "kind": "Deployment",
        "metadata": {"name": "a", "uid": "1", "generation": 3, "labels": {"x": "1"}},
        "spec": {"replicas": 1, "list": [{"v": 1}, {"v": 2}]},
        "status": {"replicas": 1},
    }
    after = {
        "kind": "Deployment",
        "metadata": {"name": "a", "uid": "1", "generation": 4, "labels": {}},
        "spec": {"replicas": 2, "list": [{"v": 1}, {"v": 3}]},
    }
    assert differences(Planned(before, after)) == (
        Difference("metadata.labels.x", "1", None),
        Difference("spec.list[1].v", 2, 3),
        Difference("spec.replicas", 1, 2),
    )
    assert differences(Planned(before, before)) == ()


@pytest.mark.parametrize(
    "text", ["y", "on", "No", "1e3", "0x1f", "1:20", "~", "", "null", "-", "a: b", "#c", "1_000", ".5"]
)
def test_text_stays_text_for_every_reader(text: str) -> None:
    line = document({"a": text})
    assert line == f"a: '{text}'\n"
    assert yaml.safe_load(line) == {"a": text}
    assert documents([{"a": "b"}, {"c": "d/e:f"}]) == "a: b\n---\nc: d/e:f\n"


def by_kind(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["kind"]: each for each in objects}


def rendered(chart: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Do what `helm template` does with the few expressions that our charts use; e2e tests ask the real one."""
    given = {**yaml.safe_load((chart / "values.yaml").read_text()), **values}

    def value(path: str) -> Any:
        found: Any = {"Values": given}
        for key in path.strip().strip(".").split("."):
            found = found.get(key) if found else None
        return found

    def expression(match: re.Match[str]) -> str:
        code = match[1]
        if code.startswith("`"):
            return code.strip("`")
        if code.startswith("- toYaml"):
            words = code.split()
            indent = " " * int(words[-1])
            return "\n" + "\n".join(indent + line for line in yaml.safe_dump(value(words[2])).splitlines())
        path, _, filtered = code.partition("|")
        return json.dumps(str(value(path))) if "quote" in filtered else str(value(path))

    made = []
    for template in sorted((chart / "templates").glob("*.yaml")):
        text = re.sub(
            r" *\{\{- if (\S+) \}\}\n(.*\n) *\{\{- end \}\}\n",
            lambda match: match[2] if value(match[1]) else "",
            template.read_text(),
        )
        made += documents_in(re.sub(r"\{\{ ?(`\{\{`|- toYaml [^}]*|[^`}]*?) ?\}\}", expression, text))
    return made


@pytest.mark.parametrize("platform", ["knative", "kubernetes"])
@pytest.mark.parametrize("way", [(), ("--dry-run", "server")], ids=["deploy", "dry run"])
def test_the_cluster_is_asked_before_an_image_is_built(
    run: Any, model: Path, platform: str, way: tuple[str, ...]
) -> None:
    """No registry answers at these addresses: who builds first says so."""
    nowhere = ("-r", "127.0.0.1:1/team", "--base", "127.0.0.1:1/base", "--kubeconfig", "/does/not/exist")
    done = run("deploy", model, "--platform", platform, *nowhere, *way)
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: no cluster is configured: /does/not/exist does not exist",
    )
