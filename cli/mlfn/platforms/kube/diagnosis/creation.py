"""Say why a pod is not made, or not placed, from the words of the API server and the scheduler. Pure.

What can never fit is final at once. What may fit when something else makes room, or when a cluster autoscaler adds a
node, is final after :data:`PATIENCE_S`, or when the autoscaler says no; not while it says that it works on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlfn.platforms.kube.diagnosis.causes import Cause, cause, quoted
from mlfn.platforms.kube.diagnosis.scene import Scene, seconds
from mlfn.platforms.kube.instances import condition
from mlfn.platforms.kube.quantities import amount, told

__all__ = ["PATIENCE_S", "creation_causes", "refused_pod", "unplaced"]

PATIENCE_S = 15.0
"""A cluster autoscaler looks every 10 s and then says on the pod what it does."""

_AUTOSCALER_WORKS = ("TriggeredScaleUp", "Nominated")
_AUTOSCALER_CANNOT = ("NotTriggerScaleUp",)
_QUOTA = re.compile(
    r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>.*?), used: (?P<used>.*?), limited: (?P<limited>.*)",
    re.DOTALL,
)
_NEEDS_LIMITS = re.compile(r"failed quota: (?P<name>[^:]+): must specify (?P<what>\S+)(?: for: (?P<containers>\S+))?")
_ACCOUNT = re.compile(r"error looking up service account (?P<namespace>[^/\s]+)/(?P<name>[^:\s]+)")
_LIMIT_RANGE = re.compile(
    r"((?:maximum|minimum) \S+ (?:usage )?per \w+.*|\S+ max limit to request ratio .*)", re.DOTALL
)
_POLICY = re.compile(
    r"""(?P<kind>admission webhook|ValidatingAdmissionPolicy) ["'](?P<name>[^"']*)["'].*?"""
    r"""denied (?:the )?request: (?P<reason>.*)""",
    re.DOTALL,
)
_INSUFFICIENT = re.compile(r"(?:\d+ )?Insufficient ([\w./-]*\w)")
_GPU = re.compile(r"(^|[./-])gpu|/(gpu|gaudi|tpu)$")
_OPTIONS = {"cpu": "--cpu", "memory": "--memory"}

Thing = Mapping[str, Any]


def creation_causes(scene: Scene) -> list[Cause]:
    """Return why pods are not made, or wait for a node."""
    found: list[Cause] = []
    refused = [condition(each, "ReplicaFailure") for each in (*scene.replica_sets, *scene.deployments)]
    refused = [each for each in refused if each.get("status") == "True"]
    resources = condition(scene.revision, "ResourcesAvailable")
    if resources.get("status") == "False" and resources.get("reason") == "FailedCreate":
        refused.append(resources)
    found += [refused_pod(str(each.get("message", "")), waited_s=_since(each, scene)) for each in refused[:1]]
    for pod in scene.pods:
        placed = condition(pod, "PodScheduled")
        if placed.get("status") == "False" and placed.get("reason") == "Unschedulable":
            found.append(unplaced(str(placed.get("message", "")), scene, waited_s=_since(placed, scene), pod=pod))
    if not found and resources.get("reason") == "Unschedulable" and resources.get("status") == "False":
        found.append(unplaced(str(resources.get("message", "")), scene, waited_s=_since(resources, scene)))
    return found


def refused_pod(text: str, *, waited_s: float) -> Cause:
    """Return why the API server does not take a pod."""
    words = quoted(text)
    if found := _QUOTA.search(text):
        return _over_quota(found, words, waited_s)
    if found := _NEEDS_LIMITS.search(text):
        return _needs_limits(found, words)
    if found := _ACCOUNT.search(text):
        name, namespace = found["name"], found["namespace"]
        return cause(
            "service-account-missing",
            f"the service account {name!r} does not exist in namespace {namespace!r}",
            conclusive=True,
            seen=words,
            fix=f"kubectl create serviceaccount {name} -n {namespace}, or name another: --service-account",
        )
    if found := _POLICY.search(text):
        message = f"the {found['kind']} {found['name']!r} does not let the pod be: {quoted(found['reason'])}"
        return cause("admission-refused", message, conclusive=True, seen=words)
    if "violates PodSecurity" in text:
        return cause("admission-refused", f"Pod Security does not let the pod be: {words}", conclusive=True, seen=words)
    if found := _LIMIT_RANGE.search(text):
        return _out_of_range(quoted(found[1].rstrip("]")), words)
    return cause("pod-not-made", f"the pod cannot be made: {words}", conclusive=waited_s >= PATIENCE_S, seen=words)


def _over_quota(found: re.Match[str], words: str, waited_s: float) -> Cause:
    requested, used, limited = (_amounts(found[part]) for part in ("requested", "used", "limited"))
    never = any(amount(value) > amount(limited.get(key, value)) for key, value in requested.items())
    figures = ", ".join(
        f"{key}: {value} wanted, {used.get(key, '?')} in use, {limited.get(key, '?')} allowed"
        for key, value in requested.items()
    )
    options = " or ".join(
        dict.fromkeys(option for key in requested for part, option in _OPTIONS.items() if key.endswith(part))
    )
    less = f"ask for less ({options}), " if options else ""
    return cause(
        "quota-exceeded",
        f"the quota {found['name']!r} does not allow the pod: {figures}",
        conclusive=never or waited_s >= PATIENCE_S,
        seen=words,
        fix=f"{less}delete what is not needed, or have it raised: kubectl describe quota {found['name']}",
    )


def _amounts(text: str) -> dict[str, str]:
    """Read ``pods=1,limits.memory=512Mi``."""
    pairs = (part.partition("=") for part in text.replace(" ", "").split(","))
    return {key: value for key, _, value in pairs if key}


def _needs_limits(found: re.Match[str], words: str) -> Cause:
    what, containers = found["what"], found["containers"] or ""
    options = " and ".join(option for part, option in _OPTIONS.items() if part in what)
    fix = f"deploy with {options}" if options else ""
    if "queue-proxy" in containers:
        fix += (
            f"{'; and ' if fix else ''}for Knative's own container let who runs the cluster set queue-sidecar-"
            f"{'memory' if 'memory' in what else 'cpu'}-{'limit' if 'limits' in what else 'request'} in the ConfigMap "
            "knative-serving/config-deployment, or a LimitRange with defaults in the namespace"
        )
    message = f"the quota {found['name']!r} wants {what} of every container; without: {containers or 'the pod'}"
    return cause("quota-needs-limits", message, conclusive=True, seen=words, fix=fix)


def _out_of_range(rule: str, words: str) -> Cause:
    options = " or ".join(option for part, option in _OPTIONS.items() if part in rule)
    fix = f"deploy with {options} inside it: kubectl describe limitrange" if options else ""
    return cause(
        "limit-range",
        f"the namespace's LimitRange does not allow the pod: {rule}",
        conclusive=True,
        seen=words,
        fix=fix,
    )


def unplaced(text: str, scene: Scene, *, waited_s: float, pod: Thing | None = None) -> Cause:
    """Return why no node takes a pod: which resource, and by how much where the pod and the nodes are known."""
    reasons = text.split(". preemption:")[0].split(". no new claims")[0]
    reasons = re.sub(r"^\d+/\d+ nodes are available: ", "", quoted(reasons))
    told_by = [event.get("reason") for event in scene.events]
    conclusive = waited_s >= PATIENCE_S and not any(each in _AUTOSCALER_WORKS for each in told_by)
    conclusive = conclusive or any(each in _AUTOSCALER_CANNOT for each in told_by)
    lacking = list(dict.fromkeys(_INSUFFICIENT.findall(text)))
    asked = _requests(pod) if pod is not None else _requests(scene.revision)
    short = [_shortage(resource, asked, scene.nodes) for resource in lacking]
    gpus = [resource for resource in lacking if _GPU.search(resource)]
    if gpus:
        message = f"no node has the accelerator that the function asks for: {'; '.join(short)}"
        return cause("no-gpu", message, conclusive=conclusive, seen=quoted(text))
    if short:
        options = " or ".join(_OPTIONS[each] for each in lacking if each in _OPTIONS)
        fix = f"ask for less ({options}), or add a node that is large enough" if options else ""
        message = f"no node has room: {'; '.join(short)} ({reasons})"
        return cause("unschedulable", message, conclusive=conclusive, seen=quoted(text), fix=fix)
    return cause("unschedulable", f"no node takes the pod: {reasons}", conclusive=conclusive, seen=quoted(text))


def _requests(thing: Thing | None) -> dict[str, float]:
    """Return what the containers of a pod ask for, all together; a limit alone is a request too."""
    spec = (thing or {}).get("spec", {})
    total: dict[str, float] = {}
    for container in spec.get("containers") or ():
        resources = container.get("resources") or {}
        for resource, value in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            total[resource] = total.get(resource, 0.0) + amount(value)
    return total


def _shortage(resource: str, asked: Mapping[str, float], nodes: Sequence[Thing]) -> str:
    words = f"{resource} {told(resource, asked[resource])} wanted" if resource in asked else f"more {resource} wanted"
    if not nodes:
        return f"{words}, not free on any node"
    largest = max(amount((node.get("status", {}).get("allocatable") or {}).get(resource, 0)) for node in nodes)
    if largest == 0:
        return f"{words}, no node has any"
    missing = asked.get(resource, 0.0) - largest
    if missing > 0:
        return f"{words}, the largest node has {told(resource, largest)}: {told(resource, missing)} too few"
    return f"{words}, the largest node has {told(resource, largest)} and others use it"


def _since(told_by: Thing, scene: Scene) -> float:
    since = seconds(told_by.get("lastTransitionTime"))
    return scene.now - since if since else 0.0
