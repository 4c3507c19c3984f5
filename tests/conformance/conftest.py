"""The platforms that the suite runs against: one entry each, no other difference."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from mlfn.function import Answer, Deployed, FunctionSpec
from mlfn.models import example_body, open_model
from mlfn.platforms import DeployRequest, Platform


@dataclass(frozen=True)
class Subject:
    """Hold a platform under test, and the models that are tried on it."""

    platform: Platform
    model: Path
    changed_model: Path
    """Another digest of the same model."""
    failing_model: Path
    """A model that loads and fails in every run."""

    def deploy(self, name: str = "conformance", model: Path | None = None, **spec: object) -> Deployed:
        """Deploy and wait."""
        package = open_model(model or self.model)
        wanted = FunctionSpec(name, **spec)  # type: ignore[arg-type]  # the test names fields of the spec
        return self.platform.deploy(DeployRequest(wanted, package), progress=lambda stage: None)

    def invoke(self, name: str = "conformance") -> Answer:
        """Send the request that mlfn makes up from the model's signature."""
        import json

        body = json.dumps(example_body(open_model(self.model))).encode()
        path = f"v2/models/{name}/infer"
        return self.platform.invoke(name, path, body, {"content-type": "application/json"}, 30.0)

    def need(self, capability: str) -> None:
        """Skip what the platform says it cannot do."""
        if not getattr(self.platform.capabilities, capability):
            pytest.skip(f"{self.platform.name} has no {capability}")


@contextmanager
def local_platform(folder: Path) -> Iterator[Platform]:
    """Give the embedded platform with a state of its own."""
    from mlfn.platforms import local

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = {"local.state_dir": str(folder / "state"), "local.port": str(probe.getsockname()[1])}
    try:
        yield local.connect(settings)
    finally:
        local.down(settings)


PLATFORMS: dict[str, Callable[[Path], AbstractContextManager[Platform]]] = {"local": local_platform}


@pytest.fixture(params=sorted(PLATFORMS))
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """Give each platform in turn."""
    repository = Path(__file__).resolve().parents[2]
    model, changed, failing = (tmp_path / name for name in ("model.onnx", "changed.onnx", "failing.onnx"))
    model.write_bytes((repository / "examples/iris/model.onnx").read_bytes())
    loaded = onnx.load(model)
    loaded.doc_string = "another digest"
    onnx.save(loaded, changed)
    loaded.graph.node.append(onnx.helper.make_node("Reshape", ["X", "misfit"], ["failing"]))
    loaded.graph.initializer.append(onnx.helper.make_tensor("misfit", onnx.TensorProto.INT64, [2], [3, 7]))
    loaded.graph.output.append(onnx.helper.make_tensor_value_info("failing", onnx.TensorProto.FLOAT, None))
    onnx.save(loaded, failing)
    with PLATFORMS[request.param](tmp_path) as platform:
        yield Subject(platform, model, changed, failing)
