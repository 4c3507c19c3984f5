"""Pure decisions: how many instances, which of them, when again.

Every rule is a plain function over scalars and indexable buffers, in the subset of Python that Numba compiles; time and
randomness are arguments. The local platform calls the rules as they are, the simulator runs the same ones. Standard
library only, and nothing of ours: import the modules (``autoscale``, ``scale_bounds``, ``choose`` ...) by name.
"""

from __future__ import annotations

__all__: list[str] = []
