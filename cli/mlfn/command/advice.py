"""What to do about a failure, said where the command is known: the layers below only tell what happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlfn.errors import NotFound
from mlfn.nearest import did_you_mean
from mlfn.platforms import Platform

__all__ = ["near_functions"]


@contextmanager
def near_functions(platform: Platform, name: str) -> Iterator[None]:
    """Offer the function whose name is nearest to one that does not exist."""
    try:
        yield
    except NotFound as error:
        known = [status.name for status in platform.list()]
        if name in known:
            raise  # it is something of the function that does not exist
        near = did_you_mean(name, known) if known else ()
        hints = (*near, *error.hints) if near else error.hints or ("mlfn list shows what is deployed",)
        raise NotFound(error.message, hints=hints, details=error.details) from error
