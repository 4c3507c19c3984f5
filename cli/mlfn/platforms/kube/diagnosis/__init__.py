"""Say why a revision is not ready, from the objects of its namespace: :func:`diagnose`. Pure.

Every source of evidence has its module. The most exact speaks first: what the API server and the scheduler say of a
pod, what the node says of its containers, what the platform concludes; events alone when the pods are gone; readiness
when nothing else is wrong; the route when the revision is ready.

**When a diagnosis is conclusive**, so that waiting longer is of no use:

- *At once*: what somebody has decided, and no retry changes: the registry says 404, 401 or 403, has no such platform,
  no such host or an untrusted certificate; no such command, secret, key or service account; root where it is
  forbidden; another architecture; more memory than the limit at the start; a quota that is smaller than one pod; a
  LimitRange; a policy; traffic to a revision that does not exist; mlfn's own server saying why it cannot start; the
  platform's deadline.
- *When it happens again*: a container that ended (its first restart comes after a second); a registry that refuses
  connections, times out or answers 5xx or 429 (the second pull, or the third try of Knative's controller).
- *After 15 s* (:data:`mlfn.platforms.kube.diagnosis.creation.PATIENCE_S`): no room on any node, no room in the quota,
  since an autoscaler or the end of another pod may make some; at once when the autoscaler says that it cannot, never
  while it says that it is at work.
- *Never by itself*: a server that runs and is not ready, since models load for minutes; an ingress that is slow; what
  happens to a revision that has been ready (memory that runs out under load).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlfn.function import Finding
from mlfn.platforms.kube.diagnosis.creation import creation_causes
from mlfn.platforms.kube.diagnosis.events import event_causes, stuck_causes
from mlfn.platforms.kube.diagnosis.pods import pod_causes
from mlfn.platforms.kube.diagnosis.readiness import readiness_causes
from mlfn.platforms.kube.diagnosis.revisions import revision_causes, verdict
from mlfn.platforms.kube.diagnosis.routes import route_causes
from mlfn.platforms.kube.diagnosis.scene import Scene, look

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Say what is wrong, the cause first, and whether to stop waiting."""

    findings: tuple[Finding, ...] = ()
    conclusive: bool = False
    revision: str = ""
    """What was looked at."""
    serving: str = ""
    """The revision that serves on meanwhile, "" when none does."""


def diagnose(
    objects: Sequence[Mapping[str, Any]],
    *,
    revision: str | None = None,
    logs: Mapping[str, str] | None = None,
    now: float | None = None,
) -> Diagnosis:
    """Return what is wrong with a revision (by default the one made last), nothing when it is well.

    ``objects`` are those of one function: Service, Configuration, Revision, Route, PodAutoscaler, Deployment,
    ReplicaSet, Pod and Event, as far as they may be read; Nodes make "by how much" exact. ``logs`` are the last lines
    of pods, ``now`` is Unix time.
    """
    scene = look(objects, revision, logs or {}, now)
    causes = creation_causes(scene) + pod_causes(scene) + revision_causes(scene)
    if not scene.ready and not causes:
        causes = stuck_causes(scene) if scene.staying else event_causes(scene)
    if not scene.ready and not causes:
        causes = readiness_causes(scene)
    causes += route_causes(scene)
    if not causes and not scene.ready and (told := verdict(scene)) is not None:
        causes = [told]
    # The cause of a failure is what makes waiting vain, not what ails besides.
    causes.sort(key=lambda each: not each.conclusive)
    findings: dict[str, Finding] = {}
    for each in causes:
        findings.setdefault(each.finding.what, _named(each.finding, scene))
    ready = str(scene.service.get("status", {}).get("latestReadyRevisionName", ""))
    return Diagnosis(
        tuple(findings.values()),
        conclusive=any(each.conclusive for each in causes) or (bool(causes) and scene.gave_up),
        revision=scene.name,
        serving=ready if ready != scene.name else "",
    )


def _named(finding: Finding, scene: Scene) -> Finding:
    """Write the function's name into the commands of a fix."""
    name = str((scene.service or {}).get("metadata", {}).get("name", "NAME"))
    fix = finding.fix
    for command in ("logs", "describe", "traffic"):
        fix = fix.replace(f"mlfn {command} NAME", f"mlfn {command} {name}")
    return replace(finding, fix=fix)
