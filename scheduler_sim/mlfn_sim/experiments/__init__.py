"""Experiments: a scenario, run over several seeds, and what came of it.

::

    report = run(read_scenario(Path("scenario.yaml")))

A scenario is a value (:mod:`~mlfn_sim.experiments.scenario`), read from YAML or made in Python. A run of it takes
simulated time only; the same scenario and seed give the same decisions, from either engine.
"""

from __future__ import annotations

__all__: list[str] = []
