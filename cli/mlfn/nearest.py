"""Offer the name that was probably meant, wherever a name from a closed set is refused. Knows nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``, None when nothing is like it."""
    # Imported on a mistake only: difflib takes 3 ms, a tenth of `mlfn --help`.
    from difflib import get_close_matches

    folded = {each.casefold().replace("_", "-"): each for each in sorted(known, reverse=True)}
    close = get_close_matches(name.casefold().replace("_", "-"), sorted(folded), n=1, cutoff=0.5)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the hint for a refused name: one line, or none."""
    found = nearest(name, known)
    return (f"did you mean {found!r}?",) if found else ()
