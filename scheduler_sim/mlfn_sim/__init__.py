"""The simulator of function platforms: today, how their pods are placed.

``mlfn_sim.experiments`` runs scenarios, ``mlfn_sim.agreement.verify_files`` replays recorded decisions.
Knows the policies, never the deployer or the runtime.
"""

from __future__ import annotations

__all__: list[str] = []
