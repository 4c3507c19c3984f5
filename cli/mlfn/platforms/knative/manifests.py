"""A function as a Knative Service. Pure: values in, an object out; asks nobody and knows no cluster.

What equals Knative's own default is left unsaid, so that the cluster's operator decides it: the autoscaler's
annotations are written only where the function's settings differ. Timeouts and the probe are always said: mlfn's server
keeps to them.
"""

from __future__ import annotations

import math
import re

from mlfn.errors import InvalidInput
from mlfn.function import FunctionSpec, ImageRef
from mlfn.platforms import DeployRequest
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, Object
from mlfn.platforms.kube.pods import READY_PATH, pod_spec
from mlfn.platforms.kube.records import function_annotations, function_labels

__all__ = ["LATEST", "VISIBILITY", "refuse_given_twice", "service"]

VISIBILITY = "networking.knative.dev/visibility"
LATEST: Object = {"latestRevision": True, "percent": 100}
"""All requests to the newest revision that is ready."""
_AUTOSCALING = "autoscaling.knative.dev/"
_OPTIONS = {"target-utilization-percentage": "utilization"}
"""Annotation -> option, where the names differ."""
_OF_THE_ROUTE = ("networking.knative.dev/", "networking.internal.knative.dev/", "serving.knative.dev/rollout-duration")
_OF_THE_REVISION = (_AUTOSCALING, "queue.sidecar.serving.knative.dev/", "serving.knative.dev/", "features.knative.dev/")


def refuse_given_twice(spec: FunctionSpec) -> None:
    """Raise InvalidInput for an annotation that an option of mlfn says otherwise: one of both would be ignored."""
    ours = _autoscaling(spec)
    for key, value in spec.annotations.items():
        # Knative reads minScale as min-scale.
        name = re.sub("[A-Z]", lambda capital: f"-{capital[0].lower()}", key)
        if ours.get(name, value) != value:
            option = _OPTIONS.get(name.removeprefix(_AUTOSCALING), name.removeprefix(_AUTOSCALING))
            raise InvalidInput(
                f"--annotation {key}={value} contradicts --{option} {ours[name]}",
                hints=(f"leave --annotation {key} out",),
            )


def service(request: DeployRequest) -> Object:
    """Return the Knative Service that a deploy applies. Raises InvalidInput for settings that contradict each other."""
    spec = request.spec
    refuse_given_twice(spec)
    assert request.image is not None, "the delivery builds an image for a platform whose capabilities ask for one"
    ours = function_annotations(spec, request.package)
    labels = function_labels(spec)
    reach = {VISIBILITY: "cluster-local"} if spec.visibility == "cluster" else {}
    return {
        "apiVersion": KNATIVE_SERVICE.api_version,
        "kind": KNATIVE_SERVICE.kind,
        "metadata": {
            "name": spec.name,
            "labels": {**labels, **reach},
            "annotations": {**_route_annotations(spec), **ours},
        },
        "spec": {
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {**_revision_annotations(spec), **_autoscaling(spec), **ours},
                },
                "spec": _revision(spec, request.image),
            },
            "traffic": [dict(LATEST)],
        },
    }


def _revision(spec: FunctionSpec, image: ImageRef) -> Object:
    pod = pod_spec(spec, image)
    # Without periodSeconds, queue-proxy asks every 50 ms: a cold start does not wait for the next second.
    pod["containers"][0]["readinessProbe"] = {"httpGet": {"path": READY_PATH}}
    timeout_s = math.ceil(spec.timeout_s)
    return {
        **pod,
        "containerConcurrency": spec.concurrency,
        "timeoutSeconds": timeout_s,
        # Left at its default of 300 s, it would end a longer request before its first byte.
        "responseStartTimeoutSeconds": timeout_s,
    }


def _autoscaling(spec: FunctionSpec) -> dict[str, str]:
    """Return the autoscaler's annotations, which belong on the template: on the Service they are ignored."""
    blank = FunctionSpec(spec.name)
    wanted = {
        "metric": (spec.metric, blank.metric),
        "target": (f"{spec.target:g}", f"{blank.target:g}"),
        "target-utilization-percentage": (f"{spec.utilization * 100:g}", f"{blank.utilization * 100:g}"),
        "min-scale": (str(spec.min_scale), str(blank.min_scale)),
        "max-scale": (str(spec.max_scale), str(blank.max_scale)),
        "window": (f"{spec.window_s}s", f"{blank.window_s}s"),
    }
    return {_AUTOSCALING + key: value for key, (value, default) in wanted.items() if value != default}


def _route_annotations(spec: FunctionSpec) -> dict[str, str]:
    return {
        key: value
        for key, value in spec.annotations.items()
        if key.startswith(_OF_THE_ROUTE) or not key.startswith(_OF_THE_REVISION)
    }


def _revision_annotations(spec: FunctionSpec) -> dict[str, str]:
    return {key: value for key, value in spec.annotations.items() if not key.startswith(_OF_THE_ROUTE)}
