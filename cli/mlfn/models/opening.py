"""From a path to a ModelPackage: the one way in. Every failure is one InvalidInput that says what the path holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mlfn import plugins
from mlfn.errors import InvalidInput, MissingExtra, MlfnError
from mlfn.function import Finding, ModelPackage
from mlfn.models import onnx_support
from mlfn.models.findings import finding
from mlfn.models.foreign import explain
from mlfn.models.formats import ModelFormat
from mlfn.nearest import nearest

__all__ = ["LOADED_BYTES", "check_loads", "open_model"]

LOADED_BYTES = 256 * 2**20
"""Larger models are not loaded to look at them: it takes seconds, and up to three times their size in memory."""


def open_model(path: Path, formats: Iterable[ModelFormat] | None = None) -> ModelPackage:
    """Read a model with the first format that knows it: those installed, or ``formats``.

    Raises InvalidInput when there is no such file, when no format knows it, or when it is damaged; what else is wrong
    with it stands in ``findings``. Nothing is written, and nothing of the model is run.
    """
    broken: list[MlfnError] = []
    try:
        _check_is_there(path)
        for candidate in _installed_formats(path, broken) if formats is None else formats:
            package = _try(candidate, path, broken)
            if package is not None:
                return package
        if broken:
            # It may be the one that would have known the file.
            raise broken[0]
        raise explain(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(
            f"{path} cannot be read: {reason}", hints=(f"look at its owner and rights: ls -l {path}",)
        ) from error


def check_loads(package: ModelPackage) -> tuple[Finding, ...]:
    """Load the model in ONNX Runtime as the function server will, and tell when it refuses.

    The last certainty before a deploy (kernels that are missing for a datatype, shapes that contradict each other). It
    takes 0.2 s and as long as the model takes to load, so large ones are not; neither is a package with errors, which
    is known not to work.
    """
    if package.errors or package.size_bytes > LOADED_BYTES:
        return ()
    refusal = onnx_support.load_error(package.root / package.entry)
    if refusal is None:
        return ()
    return (
        finding(
            "does-not-load",
            refusal,
            seen=package.entry,
            expected="a model that ONNX Runtime loads",
        ),
    )


def _check_is_there(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, siblings)
        link = " (a link to nothing)" if path.is_symlink() else ""
        hints = (f"did you mean {str(path.parent / near)!r}?",) if near else ()
        raise InvalidInput(f"there is no file {path}{link}", hints=hints) from None
    except NotADirectoryError:
        raise InvalidInput(f"there is no file {path}: {path.parent} is a file, not a folder") from None
    if not (path.is_file() or path.is_dir()):
        raise InvalidInput(f"{path} is a device, socket or pipe; expected an ONNX file or an MLflow folder")


def _try(candidate: ModelFormat, path: Path, broken: list[MlfnError]) -> ModelPackage | None:
    """Let one format detect and read; None when the file is not its own."""
    try:
        return candidate.read(path) if candidate.detect(path) else None
    except (MlfnError, OSError):
        raise
    except Exception as error:  # noqa: BLE001  # a format can be anyone's code: it is named, and hides no other
        failure = MlfnError(
            f"the format {candidate.name!r} failed on {path}: {type(error).__name__}: {error}",
            hints=(f"report it to the package that brings {type(candidate).__module__}, or remove that package",),
        )
        failure.__cause__ = error
        broken.append(failure)
        return None


def _installed_formats(path: Path, broken: list[MlfnError]) -> Iterator[ModelFormat]:
    """Yield the formats of the table; what does not load is added to ``broken``, and the others go on."""
    # The one that the suffix names comes first: with model.onnx no other is imported.
    for name in sorted(plugins.names(plugins.FORMATS), key=lambda name: (f".{name}" != path.suffix, name)):
        try:
            found = plugins.load(plugins.FORMATS, name)
        except MlfnError as error:
            broken.append(error)
            continue
        if isinstance(found, ModelFormat):
            yield found
        else:
            broken.append(MissingExtra(f"the format {name!r} is no format: {found!r} lacks name, detect or read"))
