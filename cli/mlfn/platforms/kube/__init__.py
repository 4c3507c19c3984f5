"""What the platforms on a Kubernetes API share: the door to the cluster, names on objects, causes of failures.

Knows neither of the platforms that use it. Objects are plain dictionaries, as the API speaks them.
"""

from __future__ import annotations

__all__: list[str] = []
