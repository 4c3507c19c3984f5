"""ONNX files: read without being run, and without the weights being held."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlfn.errors import InvalidInput
from mlfn.function import Finding, ModelPackage, Severity
from mlfn.models.external_data import locate
from mlfn.models.foreign import explain
from mlfn.models.onnx_checks import check_batch, check_operators, check_versions, check_volume
from mlfn.models.onnx_graph import looks_like_onnx, read_graph
from mlfn.models.onnx_signature import signature_of
from mlfn.models.onnx_wire import Buffer, MalformedError

__all__ = ["FORMAT", "OnnxFormat", "read_onnx"]

WHOLE_BYTES = 64 * 2**20
"""Files up to this are read at once; larger ones are mapped, so that their weights take no memory."""

HEAD_BYTES = 64 * 2**10

MAX_FILE_BYTES = 2**31 - 1
"""protobuf's bound on one message, and so on one ONNX file."""


@dataclass(frozen=True, slots=True)
class OnnxFormat:
    """A single ONNX file, with its external data beside it."""

    name: str = "onnx"

    def detect(self, path: Path) -> bool:
        """Tell whether the file starts as an ONNX model, whatever it is called."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return looks_like_onnx(file.read(HEAD_BYTES))

    def read(self, path: Path) -> ModelPackage:
        """Read the file."""
        return read_onnx(path.absolute().parent, path.name, self.name)


FORMAT = OnnxFormat()


def read_onnx(root: Path, entry: str, name: str) -> ModelPackage:
    """Read the ONNX file ``root/entry`` as a package of the format ``name``. Raises InvalidInput."""
    path = root / entry
    _check_size(path)
    data = _contents(path)
    try:
        graph = read_graph(data)
    except MalformedError as error:
        raise (_damaged(path, error, len(data)) if looks_like_onnx(data) else explain(path)) from error
    if not graph.opsets:
        # Every exporter writes the opsets, and behind the graph: the file ends exactly where the graph does.
        raise _damaged(path, MalformedError("it names no opset", truncated=True), len(data))
    signature, findings = signature_of(graph)
    data_files, missing = locate(root, entry, graph.external)
    findings = [*missing, *check_versions(graph), *findings]
    complete = not any(each.severity is Severity.ERROR for each in findings)
    findings += check_operators(graph, path, complete=complete)
    findings += [*check_batch(signature), *check_volume(signature)]
    digests = {entry: hashlib.sha256(data).hexdigest()} | {each: _digest(root / each) for each in data_files}
    return ModelPackage(
        root=root,
        entry=entry,
        files=tuple(sorted(digests)),
        format=name,
        signature=signature,
        digest=_joined(digests),
        size_bytes=len(data) + sum((root / each).stat().st_size for each in data_files),
        opsets=dict(sorted(graph.opsets.items())),
        findings=_by_severity(findings),
    )


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InvalidInput(
            f"{path} has {size} bytes; one ONNX file holds {MAX_FILE_BYTES} at most (the bound of protobuf)",
            hints=('save the weights beside it: onnx.save(model, path, save_as_external_data=True, location="w.bin")',),
        )


def _contents(path: Path) -> Buffer:
    with path.open("rb") as file:
        if path.stat().st_size <= WHOLE_BYTES:
            return file.read()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _damaged(path: Path, error: MalformedError, size: int) -> InvalidInput:
    if error.truncated:
        return InvalidInput(
            f"{path} is cut off: after {size} bytes, {error}",
            hints=("copy or download the file again, and compare its size with the original",),
        )
    return InvalidInput(
        f"{path} is damaged: {error}",
        hints=("copy, download or export the file again; sha256sum tells whether two copies are equal",),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined(digests: dict[str, str]) -> str:
    """Return the digest of a package: of its file, or of the ``sha256sum`` listing of its files."""
    if len(digests) == 1:
        return "sha256:" + next(iter(digests.values()))
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()


def _by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    order = list(Severity)
    return tuple(sorted(findings, key=lambda each: (order.index(each.severity), each.what)))
