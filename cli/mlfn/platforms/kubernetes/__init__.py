"""The platform for Kubernetes clusters without Knative, behind the ``mlfn.platforms`` entry points.

Settings: ``cluster.namespace``, ``.context`` and ``.kubeconfig``. The third-party package of the same name is imported
below ``mlfn.platforms.kube`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlfn.platforms.kubernetes.platform import KubernetesPlatform

__all__ = ["connect"]


def connect(settings: Mapping[str, str]) -> KubernetesPlatform:
    """Return the platform for these settings; does no IO."""
    from mlfn.platforms.kube import door
    from mlfn.platforms.kubernetes.platform import KubernetesPlatform

    return KubernetesPlatform(door.connect(settings))
