"""Make what the benchmarks need below ``benchmarks/.home``: the peers' environment, the models, the request bodies.

Run by run.py; does nothing twice. The peers get the very versions of onnxruntime and numpy that mlfn runs on here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import orjson

HERE = Path(__file__).resolve().parent
HOME = HERE / ".home"
EXAMPLES = HERE.parent / "examples"
PEER_PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "orjson")
SHAPES = {"iris": (1, 4), "magika": (1, 2048), "resnet50-light": (1, 3, 224, 224)}
DATATYPES = {"tensor(float)": ("FP32", np.float32), "tensor(int32)": ("INT32", np.int32)}


@dataclass(frozen=True)
class Home:
    """Say where everything lies."""

    folder: Path = HOME

    @property
    def mlfn(self) -> str:
        """Return mlfn of this environment."""
        return str(Path(sys.executable).with_name("mlfn"))

    @property
    def peer_python(self) -> str:
        """Return the peers' interpreter."""
        return str(self.folder / "peers" / "bin" / "python")

    def model(self, name: str) -> Path:
        """Return a model's file."""
        return EXAMPLES / "iris" / "model.onnx" if name == "iris" else self.folder / "models" / f"{name}.onnx"

    def body(self, name: str, kind: str) -> Path:
        """Return a request body: ``simple.json`` for the peers, ``v2.json`` and ``v2.bin`` for mlfn."""
        return self.folder / "bodies" / f"{name}.{kind}"

    def expected(self, name: str) -> list[float]:
        """Return the last float output, flat."""
        numbers: list[float] = json.loads(self.body(name, "expected.json").read_text())
        return numbers


def prepare() -> Home:
    """Make what is missing and return where it lies."""
    home = Home()
    (home.folder / "models").mkdir(parents=True, exist_ok=True)
    (home.folder / "bodies").mkdir(exist_ok=True)
    (home.folder / ".gitignore").write_text("*\n")
    _make_peers(home)
    _compile_bytecode()
    missing = [name for name in SHAPES if not home.model(name).is_file()]
    if missing:
        fetch = [sys.executable, str(EXAMPLES / "fetch.py"), "--into", str(home.folder / "models"), *missing]
        subprocess.run(fetch, check=True, stdout=sys.stderr)
    for name in SHAPES:
        if not home.body(name, "expected.json").is_file():
            _write_bodies(home, name)
    return home


def _compile_bytecode() -> None:
    """Compile what mlfn imports, as pip and every image build do: without it a start takes three times as long.

    Where PYTHONDONTWRITEBYTECODE is set, no import would ever do it.
    """
    folders = {HERE.parent / root for root in ("cli", "runtimes", "scheduler_sim")}
    for package in ("click", "httptools", "numpy", "onnxruntime", "orjson", "uvloop"):
        spec = importlib.util.find_spec(package)
        folders |= {Path(folder) for folder in (spec.submodule_search_locations or ())} if spec else set()
    compileall = [sys.executable, "-m", "compileall", "-q", "-j", "2", *map(str, sorted(folders))]
    subprocess.run(compileall, check=True, stdout=sys.stderr)


def _make_peers(home: Home) -> None:
    """Make the environment of FastAPI and uvicorn, with this environment's onnxruntime and numpy."""
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in ("onnxruntime", "numpy")]
    stamp = home.folder / "peers" / "made-of"
    if stamp.is_file() and stamp.read_text() == "\n".join(pins):
        return
    print(f"making {home.folder / 'peers'}", file=sys.stderr)
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    packages = [*pins, *PEER_PACKAGES]
    if Path(uv).exists():
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(stamp.parent)], check=True)
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", home.peer_python]
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(stamp.parent)], check=True)
        install = [home.peer_python, "-m", "pip", "install", "-q"]
    subprocess.run([*install, *packages], check=True)
    stamp.write_text("\n".join(pins))


def _write_bodies(home: Home, name: str) -> None:
    """Write one random but fixed request in every protocol, and the answer."""
    session = ort.InferenceSession(str(home.model(name)), providers=["CPUExecutionProvider"])
    (spec,) = session.get_inputs()
    datatype, dtype = DATATYPES[spec.type]
    draw = np.random.default_rng(0)
    whole = draw.integers(1, 257, SHAPES[name]).astype(dtype)
    array = whole if dtype is np.int32 else (draw.random(SHAPES[name]) * 4).astype(dtype)
    tensor = {"name": spec.name, "shape": array.shape, "datatype": datatype}
    binary = {**tensor, "parameters": {"binary_data_size": array.nbytes}}
    head = orjson.dumps({"inputs": [binary], "parameters": {"binary_data_output": True}})
    output = [each.name for each in session.get_outputs() if each.type == "tensor(float)"][-1]
    expected = session.run([output], {spec.name: array})[0]
    for kind, content in {
        "simple.json": _json({"inputs": {spec.name: array}}),
        "v2.json": _json({"inputs": [{**tensor, "data": array.ravel()}]}),
        "v2.bin": head + array.tobytes(),
        "v2.bin.head": str(len(head)).encode(),
        "expected.json": _json(expected.ravel()),
    }.items():
        home.body(name, kind).write_bytes(content)


def _json(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def runtime_parts() -> list[Path]:
    """Return the folders of our own packages that every function carries."""
    folders = []
    for name in ("mlfn_runtime", "mlfn_policies"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        folders.append(Path(spec.origin).parent)
    return folders


if __name__ == "__main__":
    os.umask(0o022)
    prepare()
