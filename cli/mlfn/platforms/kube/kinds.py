"""The kinds of objects that mlfn reads or writes, and where the API serves them. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "BROKER",
    "CONFIGURATION",
    "CONFIG_MAP",
    "CRON_JOB",
    "DEPLOYMENT",
    "ENDPOINT_SLICE",
    "EVENT",
    "HORIZONTAL_POD_AUTOSCALER",
    "INGRESS",
    "KNATIVE_INGRESS",
    "KNATIVE_SERVICE",
    "NAMESPACE",
    "NODE",
    "PING_SOURCE",
    "POD",
    "POD_AUTOSCALER",
    "POD_DISRUPTION_BUDGET",
    "REPLICA_SET",
    "RESOURCE_QUOTA",
    "REVISION",
    "ROUTE",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "Kind",
    "Object",
    "kind_of",
]

Object = dict[str, Any]
"""An object of the API as JSON gives it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Name one kind of object."""

    api_version: str
    """``group/version``, or ``v1``."""
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """Return the API group, "" for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """Return what a Role names: ``services.serving.knative.dev``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
SERVICE = Kind("v1", "Service", "services")
SECRET = Kind("v1", "Secret", "secrets")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
RESOURCE_QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs")
HORIZONTAL_POD_AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
INGRESS = Kind("networking.k8s.io/v1", "Ingress", "ingresses")
KNATIVE_SERVICE = Kind("serving.knative.dev/v1", "Service", "services")
CONFIGURATION = Kind("serving.knative.dev/v1", "Configuration", "configurations")
REVISION = Kind("serving.knative.dev/v1", "Revision", "revisions")
ROUTE = Kind("serving.knative.dev/v1", "Route", "routes")
POD_AUTOSCALER = Kind("autoscaling.internal.knative.dev/v1alpha1", "PodAutoscaler", "podautoscalers")
KNATIVE_INGRESS = Kind("networking.internal.knative.dev/v1alpha1", "Ingress", "ingresses")
PING_SOURCE = Kind("sources.knative.dev/v1", "PingSource", "pingsources")
BROKER = Kind("eventing.knative.dev/v1", "Broker", "brokers")

_ALL = {(each.api_version, each.kind): each for each in tuple(globals().values()) if isinstance(each, Kind)}


def kind_of(thing: Object) -> Kind:
    """Return the kind of an object that carries ``apiVersion`` and ``kind``; an unknown one gets a regular plural."""
    api_version, kind = thing["apiVersion"], thing["kind"]
    return _ALL.get((api_version, kind)) or Kind(api_version, kind, f"{kind.lower()}s")
