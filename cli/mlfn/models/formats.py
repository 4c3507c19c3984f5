"""What a model format is.

A format is a module and one line in the entry-point table ``mlfn.formats``; ONNX and MLflow stand in the same table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from mlfn.function import ModelPackage

__all__ = ["ModelFormat"]


@runtime_checkable
class ModelFormat(Protocol):
    """Recognise and read one kind of model. Frozen: one value serves every call."""

    @property
    def name(self) -> str:
        """Return the name in ``mlfn inspect``'s "format"."""

    def detect(self, path: Path) -> bool:
        """Tell, from a look at the first bytes or at the folder, whether the model is of this format.

        A damaged file of the format is of the format; ``path`` exists.
        """

    def read(self, path: Path) -> ModelPackage:
        """Read signature, files, digest and all findings.

        Raises InvalidInput when the file is damaged beyond reading; anything short of that is a finding.
        """
