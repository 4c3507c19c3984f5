"""The embedded platform: background service, router, instances, state.

``mlfn_local.client`` is the door for the deployer; everything else is the service's own. Kept cheap to import.
"""

from __future__ import annotations

__all__: list[str] = []
