"""The simulator of function platforms. Today: the proof that its policies decide as the real control planes did.

``mlfn_sim.agreement.verify_files`` replays recorded decisions. Knows the policies, never the deployer or the runtime.
"""

from __future__ import annotations

__all__: list[str] = []
