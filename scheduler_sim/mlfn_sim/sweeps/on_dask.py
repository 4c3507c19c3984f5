"""Spread calls over Dask: a cluster at an address, or one started on this machine. Needs the extra ``dask``."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlfn_sim.errors import NeedsExtra, NoCluster
from mlfn_sim.sweeps.reaching import PATIENCE_S, reach
from mlfn_sim.sweeps.values import Answer, Call, Died
from mlfn_sim.sweeps.working import perform

__all__ = ["run_on_dask"]


def run_on_dask(calls: Sequence[Call], workers: int, address: str) -> Generator[tuple[int, Answer]]:
    """Yield (number of the call, how it ended) as they end. Raises NoCluster."""
    try:
        import distributed
    except ImportError as error:
        raise NeedsExtra(f"a sweep on Dask needs {error.name}, which is not installed", "dask") from error
    with _client(distributed, workers, address) as client:
        waiting = deque(enumerate(calls))
        numbers: dict[Any, int] = {}
        finished = distributed.as_completed()
        while waiting or numbers:
            # As many as there are threads and no more: of a worker that dies, Dask blames all that it had in store.
            while waiting and len(numbers) < max(1, sum(client.nthreads().values())):
                number, call = waiting.popleft()
                future = client.submit(perform, call, key=f"mlfn-{number}", retries=0, pure=False)
                numbers[future] = number
                finished.add(future)
            future = next(finished)
            yield numbers.pop(future), _answer(distributed, future)


def _answer(distributed: Any, future: Any) -> Answer:
    try:
        found: Answer = future.result()
    except distributed.KilledWorker:
        return Died("its Dask worker was killed")
    except (distributed.CancelledError, ImportError, OSError) as error:
        return Died(f"Dask says: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    return found


@contextmanager
def _client(distributed: Any, workers: int, address: str) -> Iterator[Any]:
    import dask

    # A task that kills its process would kill the next ones too; only a cluster of our own can be told so.
    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.comm.timeouts.connect": PATIENCE_S}
    with dask.config.set(settings):
        if not address:
            with (
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",  # None takes port 8787, on every interface
                    silence_logs=logging.CRITICAL,
                ) as cluster,
                distributed.Client(cluster) as client,
            ):
                yield client
            return
        reach("Dask", address)
        try:
            client = distributed.Client(address, timeout=PATIENCE_S)
        except (OSError, ValueError) as error:
            raise NoCluster(f"no Dask cluster answers at {address}: {str(error).splitlines()[0]}") from error
        with client:
            yield client
