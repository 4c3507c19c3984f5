"""What stays in memory, and what stays on disk: beside FastAPI with the same model and the same onnxruntime."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import load
import machine
from local_platform import local_platform
from options import Options
from prepare import PEER_PACKAGES, Home, runtime_parts
from rows import Row
from servers import call_for, check, serving

RUNTIME = ("onnxruntime", "numpy", "httptools", "uvloop", "orjson")
REQUESTS = 200
MIB = 2**20
UNUSED = re.compile(
    r"^(onnxruntime/(tools|transformers|quantization|datasets|backend)/|onnxruntime/capi/libonnxruntime\.so"
    r"|numpy/(f2py|_pyinstaller|doc|random|fft|polynomial|ma|testing|distutils)/|.*/tests?/|.*\.pyi$|.*\.(h|a|lib|pxd|pyx)$"
    r"|google/|flatbuffers/|packaging/|protobuf|.*\.dist-info/RECORD$)"
)
"""What a function image can leave out; that the rest serves is tried."""


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield the rows of memory and of the packages' size."""
    held = {name: _serving_bytes(home, name) for name in ("mlfn", "FastAPI")}
    figures = {f"{name} MiB": round(size / MIB, 1) for name, size in held.items()}
    yield Row("memory (PSS) of mlfn serve vs FastAPI", held["mlfn"] / held["FastAPI"], "x", "<=", 0.8, figures)
    parts = _platform_bytes(home)
    figures |= {f"{name} MiB": round(size / MIB, 1) for name, size in parts.items()}
    total = sum(parts.values()) / held["FastAPI"]
    yield Row("memory (PSS) of the local platform with one instance vs FastAPI", total, "x", "<=", 2.0, figures)
    yield _packages(home)


def _serving_bytes(home: Home, name: str) -> int:
    with serving(home, name, "iris") as server:
        for _ in range(REQUESTS):
            load.ask(server.url, server.call)
        return machine.pss_bytes(server.pids)


def _platform_bytes(home: Home) -> dict[str, int]:
    """Return the memory of service, warm parent and instance; pages that they share are divided among them."""
    with local_platform(home) as platform:
        url = platform.run("deploy", str(home.model("iris")), "--name", "iris", "--min-scale", "1")["url"]
        call = call_for(home, "mlfn", "iris")
        for _ in range(REQUESTS):
            answer = load.ask(url, call)
        check("mlfn", answer, home.expected("iris"))
        service, *others = platform.pids()
        instances = [each["pid"] for each in platform.run("describe", "iris")["instances"]]
        assert len(instances) == 1
        parent = [pid for pid in others if pid not in instances]
        return {
            name: machine.pss_bytes(pids)
            for name, pids in (("service", [service]), ("parent", parent), ("instance", instances))
        }


def _packages(home: Home) -> Row:
    """Compare what an image would carry with FastAPI's packages, both with compiled bytecode."""
    installed = _files(RUNTIME, sys.executable)
    for part in runtime_parts():
        installed |= {f"{part.name}/{path.relative_to(part)}": path for path in part.rglob("*") if path.is_file()}
    kept = {file: path for file, path in installed.items() if not UNUSED.match(file)}
    with _tree(kept) as folder:
        _try_to_serve(home, folder)
        sizes = {"runtime": _bytes(folder)}
    for name, files in (
        ("runtime as installed", installed),
        ("FastAPI as installed", _files(("onnxruntime", *PEER_PACKAGES), home.peer_python)),
    ):
        with _tree(files) as folder:
            sizes[name] = _bytes(folder)
    return Row(
        "packages of the runtime, without what serving never loads, vs FastAPI's",
        sizes["runtime"] / sizes["FastAPI as installed"],
        "x",
        "<=",
        0.6,
        {f"{name} MiB": round(size / MIB, 1) for name, size in sizes.items()},
    )


@contextmanager
def _tree(files: dict[str, Path]) -> Iterator[Path]:
    """Copy files into a folder of their own and compile them, as an image build would."""
    with tempfile.TemporaryDirectory(prefix="mlfn-bench-") as name:
        folder = Path(name)
        for file, path in files.items():
            if "__pycache__" in file:
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        # Some packages carry templates with the ending .py that are no Python: what does not compile is left as it is.
        subprocess.run([sys.executable, "-m", "compileall", "-qq", "-j", "2", name], check=False)
        yield folder


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _files(roots: Iterable[str], python: str) -> dict[str, Path]:
    """Return every file of some packages and of what they require, as installed for ``python``."""
    argv = [python, __file__, *roots]
    return {file: Path(path) for file, path in json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)}


def _closure(roots: list[str]) -> list[tuple[str, str]]:
    """List (path below site-packages, path) of installed packages; runs in the interpreter that has them."""
    found: list[tuple[str, str]] = []
    left, seen = list(roots), set[str]()
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another Python or system
            continue
        left += [
            m.group() for r in distribution.requires or () if "extra ==" not in r and (m := re.match(r"[\w.-]+", r))
        ]
        files = [file for file in distribution.files or () if "__pycache__" not in str(file) and ".." not in str(file)]
        found += [(str(file), str(file.locate())) for file in files if Path(str(file.locate())).is_file()]
    return found


def _try_to_serve(home: Home, folder: Path) -> None:
    """Serve iris from nothing but the packages in a folder."""
    argv = [str(Path(sys.executable).resolve()), "-S", "-m", "mlfn_runtime", "--model", str(home.model("iris"))]
    argv += ["--name", "iris", "--port", "{port}"]
    with machine.running(argv, {"PYTHONPATH": str(folder)}, home.folder / "trimmed.log") as server:
        machine.wait_for_port(server)
        answer = load.ask_when_ready(f"http://127.0.0.1:{server.port}", call_for(home, "mlfn", "iris"))
        check("mlfn", answer, home.expected("iris"))


if __name__ == "__main__":
    print(json.dumps(_closure(sys.argv[1:])))
