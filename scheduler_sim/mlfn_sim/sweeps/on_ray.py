"""Spread calls over Ray: a cluster at an address, or one started on this machine. Needs the extra ``ray``."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlfn_sim.errors import NeedsExtra, NoCluster
from mlfn_sim.sweeps.reaching import reach
from mlfn_sim.sweeps.values import Answer, Call, Died
from mlfn_sim.sweeps.working import perform

__all__ = ["run_on_ray"]

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what it will do one day, and warns of until then
    "RAY_USAGE_STATS_ENABLED": "0",  # it asks nobody's leave to report home
}


def run_on_ray(calls: Sequence[Call], workers: int, address: str) -> Generator[tuple[int, Answer]]:
    """Yield (number of the call, how it ended) as they end. Raises NoCluster."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError as error:
        raise NeedsExtra(f"a sweep on Ray needs {error.name}, which is not installed", "ray") from error
    with _cluster(ray, workers, address):
        remote = ray.remote(max_retries=0)(perform)  # a task that kills its process would kill the next one too
        waiting = {remote.remote(call): number for number, call in enumerate(calls)}
        while waiting:
            for ready in ray.wait(list(waiting))[0]:
                number = waiting.pop(ready)
                try:
                    answer: Answer = ray.get(ready)
                except RayError as error:
                    answer = Died(f"Ray says: {str(error).strip().splitlines()[-1]}")
                yield number, answer


@contextmanager
def _cluster(ray: Any, workers: int, address: str) -> Iterator[None]:
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            reach("Ray", address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address="local", num_cpus=workers, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        place = f"no Ray cluster answers at {address}" if address else "Ray does not start on this machine"
        raise NoCluster(f"{place}: {str(error).splitlines()[0]}") from error
    try:
        yield
    finally:
        ray.shutdown()
