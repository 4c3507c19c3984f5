"""Write a file aside and rename it, so that nobody ever sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlfn_sim.errors import NotWritten

__all__ = ["written_aside"]


@contextmanager
def written_aside(path: Path, others: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Give the name to write under; rename it to ``path`` when the block ends well, else remove it.

    Raises NotWritten for an OSError, and for ``others``: what a library raises in its place.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.replace(path)
    except (OSError, *others) as error:  # type: ignore[misc]  # mypy does not see through the star
        told = getattr(error, "strerror", None) or error
        raise NotWritten(f"{path}: cannot be written: {told}") from error
    finally:
        aside.unlink(missing_ok=True)
