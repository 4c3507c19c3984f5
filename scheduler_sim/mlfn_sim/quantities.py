"""Read quantities as Kubernetes does: ``100m``, ``1.5``, ``64Gi``, ``1e3``, rounded up to whole units."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

__all__ = ["millis", "units"]

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?")
_FACTORS = {
    "": Fraction(1),
    **{suffix: Fraction(1, 1000**i) for i, suffix in enumerate(("m", "u", "n"), 1)},
    **{suffix: Fraction(1000**i) for i, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{suffix: Fraction(1024**i) for i, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
_LARGEST = 2**63 - 1
"""Kubernetes cuts larger quantities at this; a whole number that an array of 64-bit integers holds."""


def units(text: str | int | float) -> int:
    """Return a quantity in whole units, rounded up. Raises ValueError for what Kubernetes refuses."""
    return _whole(str(text), 1)


def millis(text: str | int | float) -> int:
    """Return a quantity in thousandths, rounded up. Raises ValueError for what Kubernetes refuses."""
    return _whole(str(text), 1000)


@lru_cache(maxsize=4096)
def _whole(text: str, scale: int) -> int:
    match = _FORM.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no quantity of Kubernetes, such as 500m, 2 or 64Gi")
    number, suffix, exponent = match.groups()
    value = Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _FACTORS[suffix or ""]) * scale
    return max(-_LARGEST, min(_LARGEST, -(-value.numerator // value.denominator)))
