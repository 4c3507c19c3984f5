"""A CronJob that pings with the function's own image, for clusters without Eventing.

Each ping is a pod, so it costs a scheduled start, and it comes once a minute at most. The pod passes the "restricted"
Pod Security profile and needs nothing that the function's own pods do not need.
"""

from __future__ import annotations

from typing import Any

from mlfn.warmers.orders import PERIOD, PingOrder
from mlfn.warmers.schedules import with_minutes

__all__ = ["CRON_JOB", "cron_job"]

CRON_JOB = "CronJob"
"""The sender's name, which is the kind of its object."""
_DEADLINE_S = 50
"""A ping that is not answered within the minute is given up: the next one is due."""


def cron_job(order: PingOrder) -> dict[str, Any]:
    """Return the CronJob of an order; an order without an image is a mistake of ours."""
    if not order.image:
        raise ValueError(f"a CronJob for {order.function} without an image to ping with")
    return {
        "apiVersion": "batch/v1",
        "kind": CRON_JOB,
        "metadata": {"name": _name(order.function), "annotations": {PERIOD: str(order.period_s)}},
        "spec": {
            "schedule": with_minutes(order.period_s),
            # A ping that comes late is of no use when the next one is due, and two at once are none either.
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 30,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": _DEADLINE_S,
                    "ttlSecondsAfterFinished": 300,
                    "template": {"spec": _pod(order)},
                }
            },
        },
    }


def _name(function: str) -> str:
    """Return a name that leaves room for what Kubernetes adds to it: 52 characters are allowed."""
    name = f"{function}-warm"
    if len(name) <= 52:
        return name
    import hashlib

    return f"{function[:37].rstrip('-')}-{hashlib.sha256(function.encode()).hexdigest()[:8]}-warm"


def _pod(order: PingOrder) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": "ping",
                "image": order.image,
                # The image's entry point is the runtime; the kubelet fills the namespace in.
                "args": ["ping", f"http://{order.function}.$(NAMESPACE).svc{order.path}"],
                "env": [{"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
    }
    if order.image_pull_secret:
        pod["imagePullSecrets"] = [{"name": order.image_pull_secret}]
    return pod
