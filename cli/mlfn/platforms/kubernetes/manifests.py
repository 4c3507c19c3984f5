"""A function as a Deployment, a Service and, where it scales, a HorizontalPodAutoscaler. Pure: knows no cluster.

There is no scale to zero: at least one instance always runs. The autoscaler holds the average use of processors at the
function's utilisation; without ``max_scale`` the number of instances is fixed. The settings stand in the pod template
too, so that a change of any of them is a revision and every revision tells how it was meant to be.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mlfn.function import FunctionSpec, ImageRef
from mlfn.platforms import DeployRequest
from mlfn.platforms.kube.kinds import (
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    Kind,
    Object,
)
from mlfn.platforms.kube.labels import FIELD_MANAGER, MANAGED_BY, NAME
from mlfn.platforms.kube.pods import READY_PATH, pod_spec
from mlfn.platforms.kube.records import function_annotations, function_labels

__all__ = ["KINDS", "PLATFORM", "SELECTOR", "at_least_one", "beside", "objects", "scales", "selected", "selector"]

PLATFORM = "mlfn.dev/platform"
"""Tells these pods from those of the same function on Knative, which carry mlfn's other labels as well."""
SELECTOR = f"{MANAGED_BY}={FIELD_MANAGER},{PLATFORM}=kubernetes"
"""Selects the objects of every function of this platform."""
KINDS = (DEPLOYMENT, SERVICE, HORIZONTAL_POD_AUTOSCALER, POD_DISRUPTION_BUDGET)
"""What a function may consist of, each under its name; the first carries the others' meaning."""

_LIVE_PATH = "/v2/health/live"
_LEAVE_S = 10
"""From the moment that a pod is told to end until it stops accepting. A node's proxy follows the Service at most once a
second and was seen to send new connections to the pod for 0.9 s on an idle node and for 3.9 s on a busy one; the kernel
keeps connections that are open on the pod for good, so the server ends each with its answer meanwhile."""
_SPARE_S = 5
_CPU_SHARE = "100m"
"""Asked for where the autoscaler needs a measure and none is set: its percentages are of what a pod asks for."""
_DEADLINE_S = 600
_KEPT = 10
_PROBE = {"httpGet": {"path": READY_PATH, "port": "http1"}}


def selector(name: str) -> str:
    """Return the label selector of everything that belongs to one function."""
    return f"{SELECTOR},{NAME}={name}"


def selected(name: str) -> dict[str, str]:
    """Return the labels by which a function's Deployment selects its pods."""
    return {NAME: name, MANAGED_BY: FIELD_MANAGER, PLATFORM: "kubernetes"}


def at_least_one(spec: FunctionSpec) -> FunctionSpec:
    """Return the settings as they can be kept here: with one instance at the least."""
    return replace(spec, min_scale=max(spec.min_scale, 1))


def objects(request: DeployRequest) -> tuple[Object, ...]:
    """Return the objects that a deploy applies, the Deployment first."""
    spec = at_least_one(request.spec)
    return _deployment(replace(request, spec=spec)), *beside(spec)


def beside(spec: FunctionSpec) -> tuple[Object, ...]:
    """Return the objects beside the Deployment, which are made of the settings alone."""
    found = [_service(spec)]
    if scales(spec):
        found.append(_autoscaler(spec))
    if spec.min_scale > 1:
        found.append(_budget(spec))
    return tuple(found)


def scales(spec: FunctionSpec) -> bool:
    """Say whether the number of instances changes by itself."""
    return spec.max_scale > spec.min_scale


def _deployment(request: DeployRequest) -> Object:
    spec = request.spec
    assert request.image is not None, "the delivery builds an image for a platform whose capabilities ask for one"
    annotations = {**spec.annotations, **function_annotations(spec, request.package)}
    wanted: Object = {
        **_head(DEPLOYMENT, spec),
        "spec": {
            "replicas": spec.min_scale,
            "revisionHistoryLimit": _KEPT,
            "progressDeadlineSeconds": _DEADLINE_S,
            # An instance goes only when the one that replaces it is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "selector": {"matchLabels": selected(spec.name)},
            "template": {
                "metadata": {"labels": _labels(spec), "annotations": annotations},
                "spec": _pod(spec, request.image),
            },
        },
    }
    wanted["metadata"]["annotations"] = annotations
    if scales(spec):
        # The autoscaler's matter: it raises a new Deployment from one to the least.
        del wanted["spec"]["replicas"]
    return wanted


def _pod(spec: FunctionSpec, image: ImageRef) -> Object:
    pod = pod_spec(spec, image, {"MLFN_LEAVE_S": str(_LEAVE_S)})
    container = pod["containers"][0]
    if scales(spec) and not spec.cpu_millis:
        resources = container["resources"]
        container["resources"] = {**resources, "requests": {**resources.get("requests", {}), "cpu": _CPU_SHARE}}
    container.update(
        # Asked every second until the model is ready, however long it loads; then seldom.
        startupProbe={**_PROBE, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": _DEADLINE_S},
        readinessProbe={**_PROBE, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 2},
        livenessProbe={
            "httpGet": {"path": _LIVE_PATH, "port": "http1"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    )
    return {**pod, "terminationGracePeriodSeconds": _LEAVE_S + math.ceil(spec.timeout_s) + _SPARE_S}


def _service(spec: FunctionSpec) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http1", "protocol": "TCP", "appProtocol": "http"}]
    return {**_head(SERVICE, spec), "spec": {"type": "ClusterIP", "selector": selected(spec.name), "ports": ports}}


def _autoscaler(spec: FunctionSpec) -> Object:
    target = {"type": "Utilization", "averageUtilization": round(spec.utilization * 100)}
    return {
        **_head(HORIZONTAL_POD_AUTOSCALER, spec),
        "spec": {
            "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "name": spec.name},
            "minReplicas": spec.min_scale,
            "maxReplicas": spec.max_scale,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": spec.window_s}},
        },
    }


def _budget(spec: FunctionSpec) -> Object:
    """Let a node be emptied, one instance at a time. Of a single instance a budget would keep the node from it."""
    return {
        **_head(POD_DISRUPTION_BUDGET, spec),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selected(spec.name)}},
    }


def _head(kind: Kind, spec: FunctionSpec) -> Object:
    metadata: Object = {"name": spec.name, "labels": _labels(spec)}
    if spec.annotations:
        metadata["annotations"] = dict(spec.annotations)
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def _labels(spec: FunctionSpec) -> dict[str, str]:
    return {**function_labels(spec), PLATFORM: "kubernetes"}
