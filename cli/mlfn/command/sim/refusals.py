"""Turn what the simulator refuses into the failures that the command line tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlfn.errors import InvalidInput, MissingExtra, MlfnError

__all__ = ["refusals"]


@contextmanager
def refusals() -> Iterator[None]:
    """Tell a file that cannot be used, a missing extra and a write that failed in our own words."""
    import mlfn_sim.errors

    try:
        yield
    except (mlfn_sim.errors.RecordingError, mlfn_sim.errors.UnknownPolicy) as error:
        raise InvalidInput(str(error)) from error
    except mlfn_sim.errors.NeedsExtra as error:
        raise MissingExtra(str(error), hints=("pip install 'mlfn[sim]'",)) from error
    except mlfn_sim.errors.NotWritten as error:
        raise MlfnError(str(error)) from error
