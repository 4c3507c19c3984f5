"""Periods as cron schedules. A schedule starts anew each minute or hour, so the last pause in it may be shorter."""

from __future__ import annotations

__all__ = ["with_minutes", "with_seconds"]

_MINUTE_S = 60
_HOUR_S = 3600


def with_seconds(period_s: int) -> str:
    """Return a schedule whose first field are seconds where the period asks for them: ``*/45 * * * * *``."""
    if period_s < 1:
        raise ValueError(f"a period of {period_s} s; expected 1 or more")
    if period_s >= _MINUTE_S:
        return with_minutes(period_s)
    # */45 in the field of seconds: at :00 and :45 of every minute.
    return f"*/{period_s} * * * * *"


def with_minutes(period_s: int) -> str:
    """Return a schedule of five fields for a period of whole minutes, up to an hour."""
    minutes, rest = divmod(period_s, _MINUTE_S)
    if rest or not 1 <= period_s <= _HOUR_S:
        raise ValueError(f"a period of {period_s} s; expected whole minutes up to an hour")
    if minutes == 1:
        return "* * * * *"
    return "0 * * * *" if period_s == _HOUR_S else f"*/{minutes} * * * *"
