"""Turn what the simulator refuses into the failures that the command line tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlfn.command.output import say
from mlfn.errors import InvalidInput, MissingExtra, MlfnError, Unreachable
from mlfn.nearest import did_you_mean

__all__ = ["refusals"]


@contextmanager
def refusals() -> Iterator[None]:
    """Tell what the simulator raises in our own words; Ctrl-C stays what it is, after what it left is told."""
    import mlfn_sim.errors

    try:
        yield
    except mlfn_sim.errors.RecordingError as error:
        raise InvalidInput(str(error)) from error
    except mlfn_sim.errors.UnknownPolicy as error:
        raise InvalidInput(str(error), hints=did_you_mean(error.name, error.known)) from error
    except mlfn_sim.errors.NeedsExtra as error:
        raise MissingExtra(str(error), hints=(f"pip install 'mlfn[{error.extra}]'",)) from error
    except mlfn_sim.errors.NoCluster as error:
        raise Unreachable(str(error)) from error
    except (mlfn_sim.errors.NotWritten, mlfn_sim.errors.WorkerDied) as error:
        raise MlfnError(str(error)) from error
    except mlfn_sim.errors.Interrupted as error:
        say(str(error))
        raise
