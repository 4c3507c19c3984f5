"""An image of the real packages, unpacked and started by the base's own loader: it answers, and is as small as said."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.images import BuildRequest, BuiltImage
from mlfn.images.wheels import runtime_lock

LARGEST_ABOVE_BASE = 60 * 2**20
LARGEST_INSTALLED = 101_000_000
"""0.2 of what KServe installs (505 MB), which is below 0.6 of what FastAPI does (189 MB)."""


@pytest.mark.timeout(300)
def test_the_image_of_the_real_packages_answers(
    make: Callable[..., BuiltImage], request_of: BuildRequest, tmp_path: Path, read_layout: Any, parts: ModuleType
) -> None:
    real = replace(request_of, lock=runtime_lock(), wheel_dir=None, output=tmp_path / "image")
    built = make(real)
    assert sum(layer.size for layer in built.layers if layer.kind != "base") <= LARGEST_ABOVE_BASE
    image = read_layout(tmp_path / "image")
    assert sum(map(len, image.files("dependencies").values())) <= LARGEST_INSTALLED
    root = tmp_path / "root"
    for layer in image.manifest()["layers"]:
        with tarfile.open(fileobj=io.BytesIO(image.blob(layer["digest"]))) as archive:
            archive.extractall(root)
    with _started(root, image.config()["config"], parts) as (server, port):
        body = json.dumps(
            {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [6.3, 2.7, 4.9, 1.8]}]}
        )
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/iris/infer", data=body.encode())
        with urllib.request.urlopen(asked, timeout=30) as answer:
            outputs = {each["name"]: each for each in json.load(answer)["outputs"]}
        assert outputs["probabilities"]["shape"] == [1, 3]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    # All times in the image are 1970: whatever is younger was compiled at the start, for want of byte code.
    assert [path for path in root.rglob("*.pyc") if path.stat().st_mtime > 0] == []


class _started:  # noqa: N801  # used as a function
    """Start what the image starts, its paths put below ``root``; nothing of this machine's Python has a part in it."""

    def __init__(self, root: Path, config: dict[str, Any], parts: ModuleType) -> None:
        libraries = root / "usr/lib" / parts.TRIPLETS[parts.HERE]
        loader = next(path for path in libraries.iterdir() if path.name.startswith("ld-"))
        env = dict(pair.split("=", 1) for pair in config["Env"])
        env |= {name: str(root) + env[name] for name in ("PYTHONPATH", "MLFN_MODEL_PATH")}
        env |= {"HOST": "127.0.0.1", "PORT": "0", "PYTHONHOME": str(root / "usr/local")}
        del env["PYTHONDONTWRITEBYTECODE"]  # so that byte code that is missing can be seen
        program, *arguments = config["Entrypoint"]
        command = [str(loader), "--library-path", str(libraries), str(root) + program, *arguments]
        self.process = subprocess.Popen(
            command, env=env, cwd=str(root) + config["WorkingDir"], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> tuple[subprocess.Popen[str], int]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            assert event["event"] != "failed", event
            if event["event"] == "ready":
                return self.process, event["port"]
        raise AssertionError(f"the server ended with {self.process.wait()}")

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
