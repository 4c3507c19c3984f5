"""What can be worth telling about a function on OpenWhisk: every code, what it means, how to fix it."""

from __future__ import annotations

from mlfn.function import Severity

__all__ = ["FINDINGS"]

FINDINGS: dict[str, tuple[Severity, str, str]] = {
    "logs-hold-container": (
        Severity.INFO,
        (
            "a container is not free until its logs have been read, 50 to 100 ms after each answer; a call that comes "
            "sooner starts another one"
        ),
        "--logs-mb 0 where calls come back to back",
    ),
    "minute-quota": (
        Severity.INFO,
        "the namespace may make few invocations a minute; more are refused with 429, and warm pings count too",
        "have the operator raise the namespace's quota",
    ),
    "action-developer-error": (
        Severity.ERROR,
        "the newest activation failed in its container: no start, no time left, or no image",
        "mlfn logs NAME --platform openwhisk shows what it wrote",
    ),
    "whisk-internal-error": (
        Severity.ERROR,
        "OpenWhisk itself could not run the newest activation",
        "ask the operator; the activation id is in wsk activation list",
    ),
}
