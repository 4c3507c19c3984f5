"""MLflow model folders that hold an ONNX model: ``MLmodel`` with the flavour onnx."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlfn.errors import InvalidInput
from mlfn.function import ModelPackage
from mlfn.models.conversions import how_to_convert
from mlfn.models.onnx_format import read_onnx

__all__ = ["FORMAT", "MlflowFormat"]


@dataclass(frozen=True, slots=True)
class MlflowFormat:
    """A folder as ``mlflow.onnx.save_model`` writes it (or its ``MLmodel`` file)."""

    name: str = "mlflow"

    def detect(self, path: Path) -> bool:
        """Tell whether the folder holds an MLmodel file."""
        return (_folder(path) / "MLmodel").is_file()

    def read(self, path: Path) -> ModelPackage:
        """Read the ONNX file that MLmodel names."""
        folder = _folder(path).absolute()
        entry = _entry(folder / "MLmodel")
        if not (folder / entry).is_file():
            raise InvalidInput(
                f"{folder / 'MLmodel'} says that the ONNX model is {entry}, but that is no file",
                hints=("copy the whole folder again: mlflow artifacts download",),
            )
        return read_onnx(folder, entry, self.name)


FORMAT = MlflowFormat()


def _folder(path: Path) -> Path:
    return path.parent if path.name == "MLmodel" and path.is_file() else path


def _entry(path: Path) -> str:
    """Return ``flavors.onnx.data``, relative to the folder."""
    flavors = _flavors(path)
    onnx = flavors.get("onnx")
    if onnx is None:
        found = sorted(str(name) for name in flavors if name != "python_function") or sorted(map(str, flavors))
        raise InvalidInput(
            f"{path.parent} is an MLflow model of the flavour {', '.join(found) or 'none'}; expected the flavour onnx",
            hints=(*how_to_convert(found), "then log it with mlflow.onnx.log_model, or deploy the .onnx file itself"),
        )
    entry = onnx.get("data", "model.onnx") if isinstance(onnx, dict) else None
    if not isinstance(entry, str) or not entry:
        raise InvalidInput(f"{path}: flavors.onnx.data is {entry!r}; expected the name of the ONNX file")
    entry = os.path.normpath(entry)
    if Path(entry).is_absolute() or Path(entry).parts[:1] == ("..",):
        raise InvalidInput(f"{path}: flavors.onnx.data is {entry!r}; expected a file in {path.parent}")
    return entry


def _flavors(path: Path) -> dict[object, object]:
    # Imported here: reading a plain ONNX file must not pay for it (15 ms).
    import yaml

    try:
        document = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path} is no MLmodel file: {reason}") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict):
        raise InvalidInput(f"{path} is no MLmodel file: it has no flavors", hints=("log the model again with mlflow",))
    return flavors
