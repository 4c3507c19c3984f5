"""Experiments: a scenario, run over several seeds, and what came of it.

::

    report = run(read_scenario(path), path)
    write_report(report, folder)

A scenario is a value (:mod:`~mlfn_sim.experiments.scenario`), read from YAML or made in Python. A run of it takes
simulated time only; the same scenario and seed give the same decisions, from either engine.
"""

from __future__ import annotations

from mlfn_sim.experiments.problems import ScenarioError
from mlfn_sim.experiments.reading import check, read_scenario
from mlfn_sim.experiments.report import Report, run
from mlfn_sim.experiments.writing import write_report

__all__ = ["Report", "ScenarioError", "check", "read_scenario", "run", "write_report"]
