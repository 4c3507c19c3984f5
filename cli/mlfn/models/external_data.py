"""The files beside an ONNX model that hold its weights: which they are, and what is wrong with them.

Holds to ONNX Runtime's rule: the data lies in the model's folder. A link may lead out of it only to where the model
file itself leads (a Hugging Face cache links both into one folder).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mlfn.function import Finding
from mlfn.models.findings import finding
from mlfn.models.onnx_graph import ExternalTensor

__all__ = ["locate"]


def locate(root: Path, entry: str, tensors: Sequence[ExternalTensor]) -> tuple[tuple[str, ...], list[Finding]]:
    """Return the data files of the model ``root/entry``, relative to ``root`` and sorted, and what is wrong."""
    by_location: dict[str, list[ExternalTensor]] = {}
    for tensor in tensors:
        by_location.setdefault(tensor.location, []).append(tensor)
    files: set[str] = set()
    findings: list[Finding] = []
    for location, users in sorted(by_location.items()):
        problem = _problem(root / entry, location, users)
        if problem is None:
            files.add(Path(os.path.normpath(Path(entry).parent / location)).as_posix())
        else:
            findings.append(problem)
    return tuple(sorted(files)), findings


def _problem(model: Path, location: str, tensors: Sequence[ExternalTensor]) -> Finding | None:
    used_by = f"{len(tensors)} tensors, the first is" if len(tensors) > 1 else "the tensor"
    used_by = f'{used_by} "{tensors[0].name}"'
    if not location or "\0" in location:
        return finding(
            "empty-external-data",
            f"the data of {used_by} lies outside the file, but the file does not say where",
            seen=f"location {location!r}",
            expected="the name of a file in the model's folder",
        )
    path = model.parent / location
    if _escapes(model, location):
        return finding(
            "external-data-escapes",
            f"the model asks for data outside its folder ({used_by}); it is refused, so that a model cannot read "
            "files that are not its own",
            seen=location,
            expected=f"a file in {model.parent}",
        )
    if not path.is_file():
        return finding(
            "missing-external-data",
            f"the weights {location} are not there ({used_by})",
            seen="a folder" if path.is_dir() else "no such file",
            expected=str(path),
            fix=f"copy {Path(location).name} to {path.parent}, with the model it was saved with",
        )
    needed, there = max(tensor.offset + tensor.length for tensor in tensors), path.stat().st_size
    if there < needed:
        return finding(
            "short-external-data",
            f"the weights {location} are cut off ({used_by})",
            seen=f"{there} bytes",
            expected=f"at least {needed} bytes",
            fix=f"copy or download {Path(location).name} again",
        )
    return None


def _escapes(model: Path, location: str) -> bool:
    """Tell whether a location leads out of the model's folder, by its text or by a link."""
    if Path(location).is_absolute() or Path(os.path.normpath(location)).parts[:1] == ("..",):
        return True
    homes = (model.parent.resolve(), model.resolve().parent)
    real = (model.parent / location).resolve()
    return not any(real.is_relative_to(home) for home in homes)
