"""The Knative platform: functions as Knative Services. :func:`connect` is its entry in the table of platforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlfn.platforms import Platform

__all__ = ["connect"]


def connect(settings: Mapping[str, str]) -> Platform:
    """Return the platform on the cluster that the settings name; does no IO."""
    from mlfn.platforms.knative.platform import KnativePlatform
    from mlfn.platforms.kube.door import connect as connect_cluster

    return KnativePlatform(connect_cluster(settings), ingress=settings.get("cluster.ingress", ""))
