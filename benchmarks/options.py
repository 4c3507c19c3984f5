"""How long to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Say how much of the machine's time a figure may cost."""

    seconds: float = 4.0
    """Of load for one figure."""
    rounds: int = 3
    """Each contestant is loaded once a round; a ratio is the median over the rounds."""
    samples: int = 7
    """Starts, deploys or requests from zero; the median counts."""
