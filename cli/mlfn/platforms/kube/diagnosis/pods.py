"""Say what is wrong with the containers of a revision's pods, in the node's own words. Pure.

An ended container is final the second time it ends, since a first start can fail by chance; at once where no restart
can change it: another architecture, no such command, not enough memory, or mlfn's own server saying that it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlfn.platforms.kube.diagnosis.causes import Cause, cause, quoted
from mlfn.platforms.kube.diagnosis.images import image_cause
from mlfn.platforms.kube.diagnosis.scene import SIDECARS, Scene, count, seconds

__all__ = ["Ended", "ended_cause", "pod_causes", "refused_container"]

LOG_LINES = 5
STALE_S = 600.0
"""A container of a ready revision that ended longer ago than this is history."""

_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"})
_SIGNALS = {
    132: "an instruction that this CPU does not have (SIGILL)",
    134: "aborted (SIGABRT)",
    137: "killed (SIGKILL)",
    139: "a bad access to memory (SIGSEGV)",
    143: "stopped (SIGTERM)",
}
_MISSING = re.compile(r'(?P<kind>secret|configmap) "(?P<name>[^"]+)" not found')
_KEY = re.compile(
    r"couldn't find key (?P<key>\S+) in (?P<kind>Secret|ConfigMap) (?:(?P<namespace>[^/\s]+)/)?(?P<name>\S+)"
)

Thing = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """Tell of a container that ended."""

    code: int | None
    """None where nobody says."""
    words: str
    """The end of its log, or what the node says."""
    out_of_memory: bool = False
    limit: str = ""
    """Its memory limit."""
    again: bool = False
    """It ended more than once."""
    pod: str = ""


def pod_causes(scene: Scene) -> list[Cause]:
    """Return what the pods tell, those of the newest first; of a pod its function's container before the others."""
    found = []
    for pod in scene.pods:
        if pod.get("status", {}).get("reason") == "Evicted":
            message = f"the node put the pod out: {quoted(str(pod['status'].get('message', '')))}"
            found.append(cause("evicted", message, conclusive=False))
        statuses = sorted(pod.get("status", {}).get("containerStatuses") or (), key=lambda s: s.get("name") in SIDECARS)
        for status in statuses:
            found.extend(_container_causes(scene, pod, status))
    return found


def _container_causes(scene: Scene, pod: Thing, status: Thing) -> Iterator[Cause]:
    waiting = status.get("state", {}).get("waiting") or {}
    reason, words = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in _PULL_REASONS:
        yield image_cause(words or reason, _image(pod, status), repeated=_pulls(scene, pod) > 1)
    elif reason in _CONFIG_REASONS:
        yield refused_container(words or reason)
    elif status.get("name") not in SIDECARS and (ended := _ended(scene, pod, status)) is not None:
        yield ended_cause(ended, under_load=scene.was_ready)


def refused_container(words: str) -> Cause:
    """Return why a node cannot make a container, or start it."""
    if found := _MISSING.search(words):
        return _absent(found["kind"], found["name"], "", words)
    if found := _KEY.search(words):
        return _absent(found["kind"].lower(), found["name"], found["key"], words)
    if "OOM-killed" in words:  # before the server's first instruction: the runtime itself needs some megabytes
        message = f"the memory limit is too small to make a container at all: {quoted(words)}"
        return cause("out-of-memory", message, conclusive=True, seen=quoted(words))
    if "run as root" in words or "runAsNonRoot" in words:
        message = f"the image's user is root (or has a name and no number), which the pod may not be: {quoted(words)}"
        return cause("runs-as-root", message, conclusive=True, seen=quoted(words))
    if "exec format error" in words:
        return _wrong_architecture(words)
    if re.search(r"exec: .*(no such file|not found in \$PATH|permission denied)|no command specified", words):
        message = f"the image's command cannot be started: {quoted(words)}"
        return cause("command-not-found", message, conclusive=True, seen=quoted(words))
    return cause("container-not-started", f"the node cannot start the container: {quoted(words)}", conclusive=False)


def _absent(kind: str, name: str, key: str, words: str) -> Cause:
    what = "secret" if kind == "secret" else "ConfigMap"
    if key:
        message = f"the {what} {name!r} has no key {key!r}"
        fix = f"its keys: kubectl describe {kind} {name}; then --secret-env NAME={name}/KEY"
        return cause("config-missing", message, conclusive=True, seen=quoted(words), fix=fix)
    make = "generic " if kind == "secret" else ""
    message = f"the {what} {name!r} does not exist in the namespace"
    fix = f"kubectl create {kind} {make}{name} --from-literal=KEY=…, or name another: --secret-env NAME=SECRET/KEY"
    return cause("config-missing", message, conclusive=True, seen=quoted(words), fix=fix)


def ended_cause(ended: Ended, *, under_load: bool) -> Cause:
    """Return why a container ended."""
    last = "\n".join(ended.words.strip().splitlines()[-LOG_LINES:])
    if "exec format error" in ended.words:
        return _wrong_architecture(ended.words)
    if ended.code in (126, 127, 128) and not ended.out_of_memory:
        told = refused_container(ended.words)
        if told.finding.what != "container-not-started":
            return told
    if ended.out_of_memory:
        return _out_of_memory(ended, last, under_load=under_load)
    why = f"exit code {ended.code}" if ended.code is not None else "its exit code is not known any more"
    if ended.code in _SIGNALS:
        why += f": {_SIGNALS[ended.code]}"
    words = f"; its last words: {quoted(last)}" if last else ""
    message = f"the server ended ({why}){words}"
    own = any(line.startswith("mlfn: ") for line in last.splitlines())
    return cause("crash-loop", message, conclusive=(ended.again or own) and not under_load, seen=quoted(last))


def _out_of_memory(ended: Ended, last: str, *, under_load: bool) -> Cause:
    limit = f"its limit of {ended.limit}" if ended.limit else "what the node has"
    words = f"; its last words: {quoted(last)}" if last else ""
    if under_load:
        message = f"an instance needed more memory than {limit} while it served, and was killed{words}"
        more = f" (it has {ended.limit})" if ended.limit else ""
        fix = f"deploy with more --memory{more}, or fewer requests at once: --concurrency"
        return cause("out-of-memory-under-load", message, conclusive=False, seen=quoted(last), fix=fix)
    message = f"the server needed more memory than {limit} to start, and was killed (exit code 137){words}"
    fix = f"deploy with more --memory (it has {ended.limit})" if ended.limit else ""
    return cause("out-of-memory", message, conclusive=True, seen=quoted(last), fix=fix)


def _wrong_architecture(words: str) -> Cause:
    message = f"the image holds programs of another architecture than the node's: {quoted(words)}"
    return cause("wrong-architecture", message, conclusive=True, seen=quoted(words))


def _ended(scene: Scene, pod: Thing, status: Thing) -> Ended | None:
    """Return how a container ended last: now, or before the run that goes on or waits for its restart."""
    now, before = (status.get(place, {}).get("terminated") for place in ("state", "lastState"))
    end = now or before
    stopping = pod.get("metadata", {}).get("deletionTimestamp") is not None
    restarts = int(status.get("restartCount", 0))
    if not end or (stopping and not restarts):
        return None
    recent = scene.now - seconds(end.get("finishedAt")) < STALE_S
    if scene.ready and not recent:
        return None
    code = int(end.get("exitCode", 0))
    if code == 0 and (stopping or scene.ready):
        return None
    name = str(pod.get("metadata", {}).get("name", ""))
    return Ended(
        code,
        str(end.get("message") or scene.logs.get(name, "")),
        out_of_memory="OOMKilled" in {end.get("reason"), (before or {}).get("reason")},
        limit=_memory_limit(pod, status),
        again=restarts >= (1 if now else 2)
        or (status.get("state", {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff",
        pod=name,
    )


def _container(pod: Thing, status: Thing) -> Thing:
    containers = pod.get("spec", {}).get("containers") or ()
    return next((each for each in containers if each.get("name") == status.get("name")), {})


def _image(pod: Thing, status: Thing) -> str:
    return str(_container(pod, status).get("image") or status.get("image", ""))


def _memory_limit(pod: Thing, status: Thing) -> str:
    limits = (_container(pod, status).get("resources") or {}).get("limits") or {}
    return str(limits.get("memory", ""))


def _pulls(scene: Scene, pod: Thing) -> int:
    """Return how often pulling failed for a pod; without events, twice once it has waited half a minute."""
    name = pod.get("metadata", {}).get("name")
    counts = [
        count(event)
        for event in scene.events
        if event.get("involvedObject", {}).get("name") == name and "Failed to pull image" in str(event.get("message"))
    ]
    if counts:
        return sum(counts)
    made = seconds(pod.get("metadata", {}).get("creationTimestamp"))
    return 2 if scene.now - made > 30.0 else 1
