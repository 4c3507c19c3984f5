"""Say why a revision that is ready gets no requests: its Route's traffic, certificate and ingress. Pure."""

from __future__ import annotations

import re

from mlfn.platforms.kube.diagnosis.causes import Cause, cause, quoted
from mlfn.platforms.kube.diagnosis.scene import Scene, seconds
from mlfn.platforms.kube.instances import condition

__all__ = ["route_causes"]

PATIENCE_S = 10.0
"""An ingress takes a second or two to take a route over."""
_UNKNOWN_REVISION = re.compile(r'(?:Revision|Configuration) "(?P<name>[^"]+)" referenced in traffic not found')


def route_causes(scene: Scene) -> list[Cause]:
    """Return what keeps requests away; before the revision is ready only what its readiness cannot change."""
    assigned = condition(scene.route, "AllTrafficAssigned")
    if assigned.get("status") != "False":
        assigned = condition(scene.service, "RoutesReady")
    if assigned.get("status") == "False" and (found := _UNKNOWN_REVISION.search(str(assigned.get("message", "")))):
        name = scene.service.get("metadata", {}).get("name") or "NAME"
        return [
            cause(
                "traffic-to-missing-revision",
                f"the traffic names the revision {found['name']!r}, which does not exist",
                conclusive=True,
                seen=found["name"],
                fix=f"mlfn describe {name} lists the revisions; mlfn traffic {name} REVISION=PERCENT… sets the shares",
            )
        ]
    return _ingress(scene) if scene.ready else []


def _ingress(scene: Scene) -> list[Cause]:
    found = []
    for kind, what in (("IngressReady", "ingress-not-ready"), ("CertificateProvisioned", "certificate-not-ready")):
        told = condition(scene.route, kind)
        since = max(
            seconds(told.get("lastTransitionTime")),
            seconds(condition(scene.revision, "Ready").get("lastTransitionTime")),
        )
        late = scene.now - since >= PATIENCE_S
        if not told or told.get("status") == "True" or not (late or told.get("status") == "False"):
            continue
        reason, words = str(told.get("reason", "")), quoted(str(told.get("message", "")))
        message = f"the revision is ready, but no request reaches it: {reason or kind}{': ' + words if words else ''}"
        found.append(cause(what, message, conclusive=told.get("status") == "False" and late, seen=reason))
    return found
