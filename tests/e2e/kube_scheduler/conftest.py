"""A second, real kube-scheduler beside the cluster's own, whose log tells every decision.

It serves pods that name it, on nodes without machines (kwok answers for them) that a taint keeps others off. With one
worker its search is deterministic, and at this verbosity it logs each node's total and each move of its queue. All that
ours is given lies in its folder afterwards: what differs can be replayed without the cluster.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DAY_US = 86_400_000_000
POOL = "mlfn.test/pool"
CLUSTER = Path(__file__).parent.parent / "cluster" / "cluster"
NEVER_PREEMPTS = 1001
LEVELS = [*range(1, 61), 1000, NEVER_PREEMPTS]
"""Priorities: nearly one a pod, for among equals of one second the real scheduler ends any."""
LINE = re.compile(r'^[IWE](\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{6})\s+\d+ \S+\] "((?:[^"\\]|\\.)*)"(.*)$')
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\{.*?\}(?= \w+=|$)|\S+)')
ATTEMPT = re.compile(r'"Attempting to schedule pod" pod="[^/"]*/([^"]*)"')
NOISE = ("Plugin scored node", "Update event for scheduled pod", "isn't interested", "Check the potential node")
VERBOSITY = "schedule_one=10,scheduling_queue=5,eventhandlers=4,preemption=5"


@dataclass(frozen=True)
class Entry:
    """One line of the scheduler's log."""

    at_us: int
    """Since the midnight before the first."""
    text: str
    fields: dict[str, str]

    @property
    def pod(self) -> str:
        """Return the name of the pod that it is about."""
        return self.fields.get("pod", "").rpartition("/")[2]


@dataclass
class RealScheduler:
    """Run the real scheduler for the pods of one namespace."""

    cluster: Any
    namespace: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What else the replay needs: the nodes before and after, and what was done to them and to the pods."""

    @property
    def log(self) -> Path:
        """Return its log."""
        return self.folder / "scheduler.log"

    def start(self) -> None:
        """Start it; pods that are there already are all queued before it takes the first."""
        config = self.folder / "scheduler.json"
        document = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "parallelism": 1,
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"kubeconfig": self.cluster.kubeconfig, "qps": 1000, "burst": 1000},
            "profiles": [{"schedulerName": self.namespace}],
        }
        config.write_text(json.dumps(document))
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                ["kube-scheduler", f"--config={config}", "--secure-port=0", "-v=4", f"--vmodule={VERBOSITY}"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TZ": "UTC"},
            )

    def stop(self) -> None:
        """End it, and keep what it was given beside its log."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None
            kept = {"namespace": self.namespace, "created": self.created, "facts": self.facts}
            (self.folder / "given.json").write_text(json.dumps(kept))

    def unready_nodes(self) -> dict[str, Any]:
        """Return its nodes that kwok has not made ready, or that are still tainted as new, with what they say."""
        return {
            each["metadata"]["name"]: (each["status"].get("conditions"), each["spec"].get("taints"))
            for each in self.cluster.objects("nodes", "-l", f"{POOL}={self.namespace}")
            if not any(c["type"] == "Ready" and c["status"] == "True" for c in each["status"].get("conditions", ()))
            or any(t["key"].startswith("node.kubernetes.io/not-ready") for t in each["spec"].get("taints", ()))
        }

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes as the scheduler lists them: by name."""
        return sorted(self.cluster.objects("nodes"), key=lambda each: str(each["metadata"]["name"]))

    def create(self, pods: list[dict[str, Any]]) -> None:
        """Create pods, in their order, and read them back as the API server completed them."""
        self._apply("create", pods)
        for each in self.cluster.objects("pods", "-n", self.namespace):
            # As it was when it came: one of an earlier act may be ending by now.
            self.created.setdefault(each["metadata"]["name"], each)

    def delete(self, names: list[str]) -> None:
        """Delete pods."""
        self.cluster.kubectl("delete", "pods", "-n", self.namespace, "--wait=false", *names)

    def _apply(self, verb: str, items: list[dict[str, Any]]) -> None:
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.cluster.kubectl(verb, "-n", self.namespace, "-f", "-", stdin=document)

    def apply(self, items: list[dict[str, Any]]) -> None:
        """Create other objects of the namespace."""
        self._apply("create", items)

    def entries(self) -> list[Entry]:
        """Return the log so far."""
        found: list[Entry] = []
        for line in self.log.read_text(errors="replace").splitlines():
            if any(noise in line for noise in NOISE):
                continue
            match = LINE.match(line)
            if match is None:
                continue
            _, hours, minutes, seconds, micros, text, rest = match.groups()
            at_us = found[-1].at_us // DAY_US * DAY_US if found else 0
            at_us += ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1_000_000 + int(micros)
            if found and at_us < found[-1].at_us - DAY_US // 2:
                at_us += DAY_US
            values = {key: unquoted(value) for key, value in FIELD.findall(rest)}
            found.append(Entry(at_us, text, values))
        return found

    def is_quiet(self, pods: set[str]) -> Callable[[], bool]:
        """Return a question: every pod was tried, and nothing was for some turns of asking."""
        seen: list[int] = []

        def ask() -> bool:
            assert self.process is None or self.process.poll() is None, self.log.read_text()[-2000:]
            tried = ATTEMPT.findall(self.log.read_text(errors="replace"))
            seen.append(len(tried))
            return pods <= set(tried) and len(seen) > 3 and len(set(seen[-4:])) == 1

        return ask


def unquoted(value: str) -> str:
    """Return a value of the log without its quotes."""
    return value[1:-1].replace('\\"', '"') if value.startswith('"') else value


@pytest.fixture(scope="session")
def kwok(cluster: Any) -> None:
    """See that kwok answers for nodes without machines; the cluster's command starts it with the first of them."""
    before = {each["metadata"]["name"] for each in cluster.objects("nodes")}
    subprocess.run([sys.executable, str(CLUSTER), "fake-nodes", "1"], check=True, timeout=120, capture_output=True)
    if "fake-00000" not in before:
        cluster.kubectl("delete", "node", "fake-00000", "--wait=false")


@pytest.fixture(scope="session")
def priorities(cluster: Any) -> Iterator[dict[int, str]]:
    """Give priority -> the name of its class."""
    mark = uuid.uuid4().hex[:6]
    names = {level: f"e2e-{mark}-{level}" for level in LEVELS}
    items = [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "labels": {"mlfn.test/mark": mark}},
            "value": level,
            "preemptionPolicy": "Never" if level == NEVER_PREEMPTS else "PreemptLowerPriority",
        }
        for level, name in names.items()
    ]
    cluster.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    yield names
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    cluster.kubectl("delete", "--raw", f"{classes}?labelSelector=mlfn.test%2Fmark%3D{mark}")


@pytest.fixture
def real(cluster: Any, kwok: None, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[RealScheduler]:
    """Give a scheduler that is not started, with a namespace and a pool of nodes of that name.

    The pool, and its nodes' names, are of this run alone: a name used again would find the lease of the node that had
    it before, and a run beside this one would lose its nodes at our end.
    """
    name = f"e2e-sched-{uuid.uuid4().hex[:6]}"
    # A scheduler sees all nodes of its cluster: those of the scenario before have to be gone.
    eventually(lambda: not cluster.objects("nodes", "-l", POOL), within_s=60)
    cluster.kubectl("create", "namespace", name)
    eventually(lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", name, check=False), within_s=30)
    scheduler = RealScheduler(cluster, name, tmp_path)
    yield scheduler
    scheduler.stop()
    # Whole collections in one call each.
    cluster.kubectl("delete", "--raw", f"/api/v1/namespaces/{name}/pods?gracePeriodSeconds=0")
    cluster.kubectl("delete", "namespace", name, "--wait=false")
    cluster.kubectl("delete", "--raw", f"/api/v1/nodes?labelSelector=mlfn.test%2Fpool%3D{name}")
