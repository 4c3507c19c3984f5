"""Spread many runs over cores or machines, and keep what each gave.

::

    results = sweep(tasks, "module:name", where=Where(out=folder), progress=told)

A task is a frozen dataclass with a ``key`` that is its own among the tasks; ``module:name`` is a function that takes it
and returns a JSON document (an object of texts, numbers, lists and objects). The results come in the order of the
tasks, the same whether they were worked out now or lay in ``out`` already. ``out`` holds a file for each finished task,
which is used again as long as the task's fields and our code are the same. What else a result depends on (the digest
of a data file or of somebody's policy) has to be a field of the task.
"""

from __future__ import annotations

from mlfn_sim.sweeps.sweeping import sweep
from mlfn_sim.sweeps.values import ON, Document, Task, Where

__all__ = ["ON", "Document", "Task", "Where", "sweep"]
