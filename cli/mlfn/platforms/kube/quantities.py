"""Read amounts as Kubernetes writes them (``500m``, ``64Mi``, ``2``), and write them for people. Pure."""

from __future__ import annotations

import re

__all__ = ["amount", "told"]

_FACTORS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")


def amount(quantity: object) -> float:
    """Return a quantity as a number: CPUs, bytes or pieces; 0 for what cannot be read."""
    found = _QUANTITY.fullmatch(str(quantity).strip())
    if found is None or found[2] not in _FACTORS:
        return 0.0
    try:
        return float(found[1]) * _FACTORS[found[2]]
    except ValueError:
        return 0.0


def told(resource: str, value: float) -> str:
    """Write an amount of a resource in the unit that people read: ``512Gi``, ``1.025``, ``500m``."""
    if resource.endswith(("memory", "storage")):
        for unit in ("Ti", "Gi", "Mi", "Ki"):
            if abs(value) >= _FACTORS[unit]:
                return f"{value / _FACTORS[unit]:.4g}{unit}"
        return f"{value:.0f}"
    if resource.endswith("cpu") and value < 1:
        return f"{value * 1000:.0f}m"
    return f"{value:.5g}"
