"""The platforms that the suite runs against: one entry each, no other difference.

`make test` runs it on the local platform. MLFN_CONFORMANCE names others, separated by commas; `make e2e` runs it on
those that need a cluster, which KUBECONFIG, MLFN_REGISTRY, MLFN_INGRESS and MLFN_BASE_IMAGE describe.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from mlfn.delivery.deploy import Order
from mlfn.delivery.deploy import deploy as deliver
from mlfn.function import Answer, Deployed, FunctionSpec
from mlfn.models import example_body, open_model
from mlfn.platforms import Platform
from mlfn.plugins import PLATFORMS as ENTRIES
from mlfn.plugins import load
from mlfn.settings.fields import ImageSettings


@dataclass(frozen=True)
class Subject:
    """Hold a platform under test, and the models that are tried on it."""

    platform: Platform
    model: Path
    changed_model: Path
    """The same model with one more output, so that its answers tell which of the two gave them."""
    failing_model: Path
    """A model that loads and fails in every run."""
    image: ImageSettings
    """Where images go, on a platform of images."""

    def deploy(self, name: str = "conformance", model: Path | None = None, **spec: object) -> Deployed:
        """Deploy and wait."""
        wanted = FunctionSpec(name, **spec)  # type: ignore[arg-type]  # the test names fields of the spec
        order = Order(model or self.model, wanted, self.image, wait_timeout_s=120)
        return deliver(self.platform, order, progress=lambda stage: None)

    @property
    def a_setting(self) -> dict[str, object]:
        """Return a setting that the platform honours, other than its default."""
        known = self.platform.capabilities.settings
        return {"window_s": 30} if "window_s" in known else {"timeout_s": 31.0}

    def invoke(self, name: str = "conformance", *, tag: str = "") -> Answer:
        """Send the request that mlfn makes up from the model's signature."""
        body = json.dumps(example_body(open_model(self.model))).encode()
        path = f"v2/models/{name}/infer"
        return self.platform.invoke(name, path, body, {"content-type": "application/json"}, 30.0, tag=tag)

    def answering(self, name: str = "conformance", *, tag: str = "") -> str:
        """Return which model answers now: ``model`` or ``changed_model``, or the status of an answer that is none."""
        answer = self.invoke(name, tag=tag)
        if answer.status != 200:
            return str(answer.status)
        outputs = {output["name"] for output in json.loads(answer.body)["outputs"]}
        return "changed_model" if "label_again" in outputs else "model"

    @staticmethod
    def settles(holds: Callable[[], object], limit_s: float = 60.0) -> None:
        """Wait until something holds: a cluster's network follows its API after a while."""
        deadline, pause = time.monotonic() + limit_s, threading.Event()
        while not holds():
            assert time.monotonic() < deadline, f"not so within {limit_s:g} s"
            pause.wait(0.1)

    def need(self, capability: str) -> None:
        """Skip what the platform says it cannot do."""
        if not getattr(self.platform.capabilities, capability):
            pytest.skip(f"{self.platform.name} has no {capability}")


@contextmanager
def local_platform(folder: Path, port: int) -> Iterator[tuple[Platform, ImageSettings]]:
    """Give the embedded platform with a state of its own."""
    from mlfn.platforms import local

    settings = {"local.state_dir": str(folder / "state"), "local.port": str(port)}
    try:
        yield local.connect(settings), ImageSettings()
    finally:
        local.down(settings)


def on_cluster(name: str) -> Callable[[Path, int], AbstractContextManager[tuple[Platform, ImageSettings]]]:
    """Return what gives a platform of the cluster with a namespace of its own."""

    @contextmanager
    def platform(folder: Path, port: int) -> Iterator[tuple[Platform, ImageSettings]]:
        kubeconfig, registry = os.environ["KUBECONFIG"], os.environ["MLFN_REGISTRY"]
        namespace = f"conformance-{uuid.uuid4().hex[:8]}"
        image = ImageSettings(registry=f"{registry}/conformance", base=os.environ["MLFN_BASE_IMAGE"], plain_http=True)
        settings = {
            "cluster.kubeconfig": kubeconfig,
            "cluster.namespace": namespace,
            "cluster.ingress": os.environ["MLFN_INGRESS"],
        }
        kubectl = ["kubectl", f"--kubeconfig={kubeconfig}"]
        subprocess.run([*kubectl, "create", "namespace", namespace], check=True, timeout=60)
        try:
            yield load(ENTRIES, name)(settings), image
        finally:
            subprocess.run([*kubectl, "delete", "namespace", namespace, "--wait=false"], check=True, timeout=60)

    return platform


@contextmanager
def openwhisk_platform(folder: Path, port: int) -> Iterator[tuple[Platform, ImageSettings]]:
    """Give the OpenWhisk that ``WHISK_APIHOST`` names; its functions are deleted afterwards."""
    registry = os.environ["MLFN_REGISTRY"]
    image = ImageSettings(registry=f"{registry}/conformance", base=os.environ["MLFN_BASE_IMAGE"], plain_http=True)
    platform = load(ENTRIES, "openwhisk")({"openwhisk.wsk": os.environ.get("MLFN_WSK", "")})
    try:
        yield platform, image
    finally:
        for status in platform.list():
            platform.remove(status.name)


PLATFORMS = {
    "openwhisk": openwhisk_platform,
    "local": local_platform,
    "knative": on_cluster("knative"),
    "kubernetes": on_cluster("kubernetes"),
}


@pytest.fixture(params=os.environ.get("MLFN_CONFORMANCE", "local").split(","))
def subject(request: pytest.FixtureRequest, tmp_path: Path, lasting_port: Callable[[], int]) -> Iterator[Subject]:
    """Give each platform in turn."""
    repository = Path(__file__).resolve().parents[2]
    model, changed, failing = (tmp_path / name for name in ("model.onnx", "changed.onnx", "failing.onnx"))
    model.write_bytes((repository / "examples/iris/model.onnx").read_bytes())
    loaded = onnx.load(model)
    loaded.graph.node.append(onnx.helper.make_node("Identity", ["label"], ["label_again"]))
    loaded.graph.output.append(onnx.helper.make_tensor_value_info("label_again", onnx.TensorProto.INT64, None))
    onnx.save(loaded, changed)
    loaded.graph.node.append(onnx.helper.make_node("Reshape", ["X", "misfit"], ["failing"]))
    loaded.graph.initializer.append(onnx.helper.make_tensor("misfit", onnx.TensorProto.INT64, [2], [3, 7]))
    loaded.graph.output.append(onnx.helper.make_tensor_value_info("failing", onnx.TensorProto.FLOAT, None))
    onnx.save(loaded, failing)
    with PLATFORMS[request.param](tmp_path, lasting_port()) as (platform, image):
        yield Subject(platform, model, changed, failing, image)
