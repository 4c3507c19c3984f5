"""What the pod of a function looks like, on whichever platform of a Kubernetes API. Pure.

A pod passes the "restricted" Pod Security profile: no root, no privileges, a root file system that is read only, and
no token of the cluster unless a service account is asked for. Probes, scaling and what runs beside the function are the
platform's matter.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlfn.function import FunctionSpec, ImageRef
from mlfn.platforms.kube.kinds import Object
from mlfn.platforms.kube.labels import CONTAINER

__all__ = ["PORT", "READY_PATH", "container", "pod_spec"]

PORT = 8080
READY_PATH = "/v2/health/ready"
"""Answers 200 once the model has been loaded and has answered an inference."""

_SCRATCH = "tmp"


def pod_spec(spec: FunctionSpec, image: ImageRef, server: Mapping[str, str] | None = None) -> Object:
    """Return a pod's specification with the function's container in it; ``server`` are variables for the server."""
    pod: Object = {
        "containers": [container(spec, image, server)],
        "volumes": [{"name": _SCRATCH, "emptyDir": {}}],
        # Hundreds of services in a namespace are hundreds of variables that nobody asked for.
        "enableServiceLinks": False,
    }
    if spec.service_account:
        pod["serviceAccountName"] = spec.service_account
    else:
        pod["automountServiceAccountToken"] = False
    if spec.image_pull_secret:
        pod["imagePullSecrets"] = [{"name": spec.image_pull_secret}]
    return pod


def container(spec: FunctionSpec, image: ImageRef, server: Mapping[str, str] | None = None) -> Object:
    """Return the function's container, without probes."""
    return {
        "name": CONTAINER,
        "image": image.pinned,
        "ports": [{"name": "http1", "containerPort": PORT}],
        "env": _environment(spec, server or {}),
        "resources": _resources(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": _SCRATCH, "mountPath": "/tmp"}],  # noqa: S108  # the one place that can be written
        # The last lines of its log become the message of a container that ended without one.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _environment(spec: FunctionSpec, server: Mapping[str, str]) -> list[Object]:
    """Return the variables sorted by name; what the user gives goes first, a secret before a plain value."""
    own = {"MLFN_REQUEST_TIMEOUT_S": f"{spec.timeout_s:g}", "MLFN_DRAIN_S": f"{spec.timeout_s:g}", **server}
    plain = {**own, **spec.env}
    variables: dict[str, Object] = {name: {"name": name, "value": value} for name, value in plain.items()}
    for name, place in spec.secret_env.items():
        secret, _, key = place.partition("/")
        variables[name] = {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
    return [variables[name] for name in sorted(variables)]


def _resources(spec: FunctionSpec) -> Object:
    """Ask for what is allowed: a pod that asks for less than it uses is the first to go when a node runs short."""
    amounts: Object = {}
    if spec.cpu_millis:
        amounts["cpu"] = f"{spec.cpu_millis}m" if spec.cpu_millis % 1000 else str(spec.cpu_millis // 1000)
    if spec.memory_bytes:
        amounts["memory"] = _quantity(spec.memory_bytes)
    return {"requests": amounts, "limits": dict(amounts)} if amounts else {}


def _quantity(size: int) -> str:
    """Return bytes in the largest binary unit that holds them exactly."""
    for unit, factor in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
