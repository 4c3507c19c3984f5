"""Say why a server that runs is not ready: it says so itself, answers nothing, or is asked at another port. Pure.

None of this is final while the platform still waits, since a large model is loaded for minutes; but a probe that asks
a port nobody declared is a mistake in the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlfn.platforms.kube.diagnosis.causes import Cause, cause, quoted
from mlfn.platforms.kube.diagnosis.scene import SIDECARS, Scene, began_at, count

__all__ = ["readiness_causes"]

DEFAULT_PORT = 8080
ENOUGH = 3
"""Probes that failed before a port that nobody declared is called wrong."""
LOG_LINES = 5
_PORTS = re.compile(r"listening\W.{0,40}?\b(?:port\W+)?(\d{2,5})\b", re.IGNORECASE)

Thing = Mapping[str, Any]


def readiness_causes(scene: Scene) -> list[Cause]:
    """Return why the readiness probe fails; nothing before it has failed once."""
    failed = _failed_probes(scene)
    if not failed or scene.ready or (scene.staying and not _runs(scene)):
        return []
    times = sum(map(count, failed))
    container = _function(scene)
    declared, asked = _declared_port(container), _asked_port(container)
    log = _log(scene)
    said = f"; its last words: {quoted(log)}" if log else ""
    listens = {int(port) for port in _PORTS.findall(log)}
    if asked and asked != declared:
        message = f"readiness is asked at port {asked}, the server is to listen at {declared}{said}"
        return [_wrong_port(message, scene, final=times >= ENOUGH)]
    if listens and declared not in listens:
        message = f"the server listens at port {min(listens)}, it is asked at {declared}{said}"
        return [_wrong_port(message, scene, final=times >= ENOUGH)]
    probe = container.get("readinessProbe") or {}
    refused = any("connection refused" in _words(event) for event in failed)
    answered = any("statuscode" in _words(event) for event in failed)
    if "httpGet" not in probe and not (answered and not scene.revision):
        message = f"nothing listens at port {declared}: {times} probes failed{said}"
        return [cause("never-listens", message, conclusive=scene.gave_up, seen=_words(failed[0]))]
    path = probe.get("httpGet", {}).get("path", "/")
    answer = "nothing listens there" if refused else "it does not answer 200"
    message = f"the server is not ready: GET {path} was asked {times} times and {answer}{said}"
    return [cause("never-ready", message, conclusive=scene.gave_up, seen=_words(failed[0]))]


def _failed_probes(scene: Scene) -> list[Thing]:
    """Return the probes that failed while a server was to run: one that is stopped says no, as it should."""
    stopped: dict[str, float] = {}
    for event in scene.events:
        if event.get("reason") == "Killing":
            about = str(event.get("involvedObject", {}).get("name"))
            stopped[about] = min(began_at(event), stopped.get(about, began_at(event)))
    return [
        event
        for event in scene.events
        if event.get("reason") == "Unhealthy"
        and "eadiness" in _words(event)
        and began_at(event) < stopped.get(str(event.get("involvedObject", {}).get("name")), float("inf"))
    ]


def _runs(scene: Scene) -> bool:
    """Return whether the server of an instance runs: queue-proxy is asked, and says no, long before."""
    return any(
        "running" in status.get("state", {}) and status.get("name") not in SIDECARS
        for pod in scene.staying
        for status in pod.get("status", {}).get("containerStatuses") or ()
    )


def _wrong_port(message: str, scene: Scene, *, final: bool) -> Cause:
    return cause("wrong-port", message, conclusive=scene.gave_up or final)


def _words(event: Thing) -> str:
    return str(event.get("message", ""))


def _function(scene: Scene) -> Thing:
    """Return the function's container: of the Revision, which keeps the probe, else of a pod."""
    for thing in (
        scene.revision,
        *scene.pods,
        *(each.get("spec", {}).get("template", {}) for each in scene.replica_sets),
    ):
        for container in thing.get("spec", {}).get("containers") or ():
            if container.get("name") not in SIDECARS:
                found: Thing = container
                return found
    return {}


def _declared_port(container: Thing) -> int:
    ports = container.get("ports") or [{}]
    return int(ports[0].get("containerPort") or DEFAULT_PORT)


def _asked_port(container: Thing) -> int:
    """Return the port that the probe names, 0 when it names none (the declared one is meant)."""
    probe = container.get("readinessProbe") or {}
    action = probe.get("httpGet") or probe.get("tcpSocket") or probe.get("grpc") or {}
    port = action.get("port", 0)
    if isinstance(port, str):
        return next(
            (int(each["containerPort"]) for each in container.get("ports") or () if each.get("name") == port), 0
        )
    return int(port)


def _log(scene: Scene) -> str:
    for pod in scene.pods:
        if log := scene.logs.get(str(pod.get("metadata", {}).get("name", ""))):
            return "\n".join(log.strip().splitlines()[-LOG_LINES:])
    return ""
