"""Say before an image is built what the cluster would refuse whatever the image is: who asks, and where.

One write that changes nothing is asked for, and only what does not depend on the object itself is taken from its
refusal. Knows no platform.
"""

from __future__ import annotations

from mlfn.errors import Conflict, DeployFailed, InvalidInput
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.kinds import Kind

__all__ = ["check_writable"]


def check_writable(door: ClusterDoor, kind: Kind, name: str) -> None:
    """Raise where no object of the kind could be made: NotAuthorised, NotFound (namespace or kind), Unreachable."""
    bare = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}}
    try:
        door.apply(bare, dry_run=True)
    except (Conflict, DeployFailed, InvalidInput):
        # What it says of the object: there is none yet. Rights and the namespace come before it.
        return
