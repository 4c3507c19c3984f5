"""What a model format is, and the table of those installed.

A format is a module and one line in the entry-point table ``mlfn.formats``; ONNX and MLflow stand in the same table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from mlfn import plugins
from mlfn.errors import MissingExtra, MlfnError
from mlfn.function import ModelPackage

__all__ = ["ModelFormat", "installed_formats"]


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


def installed_formats(broken: list[MlfnError]) -> Iterator[ModelFormat]:
    """Yield the formats by name; what does not load is added to ``broken``, and the others go on."""
    for name in plugins.names(plugins.FORMATS):
        try:
            found = plugins.load(plugins.FORMATS, name)
        except MlfnError as error:
            broken.append(error)
            continue
        if isinstance(found, ModelFormat):
            yield found
        else:
            broken.append(MissingExtra(f"the format {name!r} is no format: {found!r} lacks name, detect or read"))
