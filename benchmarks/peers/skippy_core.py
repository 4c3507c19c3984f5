"""Place pods with skippy-core's default priorities: `python skippy_core.py NODES PODS` prints one JSON line.

Twenty images, every fourth node at the edge, two speeds of links; adaptive sampling as its scheduler does it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

from skippy.core.clustercontext import ClusterContext
from skippy.core.model import Capacity, Container, ImageState, Node, Pod, PodSpec, ResourceRequirements
from skippy.core.scheduler import Scheduler
from skippy.core.storage import StorageIndex

IMAGES = tuple(f"fn/{i}:latest" for i in range(20))
MEMORY = 64 << 30


class Links(Mapping[str, Mapping[str, float]]):
    """From any node, the same bytes per second to each."""

    def __init__(self, nodes: int) -> None:
        self._to = {f"n{i}": 1.25e8 if i % 3 else 1.25e7 for i in range(nodes)}

    def __getitem__(self, _origin: str) -> Mapping[str, float]:
        return self._to

    def __iter__(self):
        return iter(self._to)

    def __len__(self) -> int:
        return len(self._to)


class Cluster(ClusterContext):
    """Equal nodes."""

    def __init__(self, nodes: int) -> None:
        self._links = Links(nodes)
        kinds = ("edge", "cloud", "cloud", "cloud")
        self._nodes = [self._node(i, kinds[i % 4]) for i in range(nodes)]
        super().__init__()
        self.storage_index = StorageIndex()

    @staticmethod
    def _node(i: int, kind: str) -> Node:
        labels = {"beta.kubernetes.io/arch": "amd64", "locality.skippy.io/type": kind}
        return Node(f"n{i}", Capacity(16000, MEMORY), Capacity(16000, MEMORY), labels)

    def get_init_image_states(self):
        return {name: ImageState({"amd64": (50 + 40 * i) << 20}) for i, name in enumerate(IMAGES)}

    def get_bandwidth_graph(self):
        return self._links

    def list_nodes(self):
        return self._nodes

    def get_next_storage_node(self, node):
        return None


def main() -> None:
    """Place."""
    nodes, count = int(sys.argv[1]), int(sys.argv[2])
    scheduler = Scheduler(Cluster(nodes), percentage_of_nodes_to_score=0)
    asked = ResourceRequirements({"cpu": 250, "memory": 256 << 20})
    pods = [Pod(f"p{i}", "default", PodSpec([Container(IMAGES[i % 20], asked)])) for i in range(count + 1)]
    scheduler.schedule(pods[0])
    began = time.perf_counter()
    placed = sum(scheduler.schedule(pod).suggested_host is not None for pod in pods[1:])
    seconds = time.perf_counter() - began
    print(json.dumps({"peer": "skippy-core", "nodes": nodes, "pods": count, "placed": placed,
                      "seconds": round(seconds, 4), "placements_per_s": round(count / seconds, 1)}))  # fmt: skip


main()
