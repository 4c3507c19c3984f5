"""Say what happened to a revision whose pods are gone: events outlive them by an hour. Pure.

A late look only: while there are pods or conditions that tell the cause, they are more exact.
"""

from __future__ import annotations

from mlfn.platforms.kube.diagnosis.causes import Cause, cause, quoted
from mlfn.platforms.kube.diagnosis.creation import refused_pod, unplaced
from mlfn.platforms.kube.diagnosis.images import image_cause
from mlfn.platforms.kube.diagnosis.pods import Ended, ended_cause, refused_container
from mlfn.platforms.kube.diagnosis.scene import Scene, began_at, count

__all__ = ["event_causes", "stuck_causes"]

_PULLS = ("ErrImagePull", "ImagePullBackOff")
_STUCK = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
STUCK = 3
"""Times that a node failed to make what a pod needs before it is told: the first time is often a cache that is cold."""


def event_causes(scene: Scene) -> list[Cause]:
    """Return the causes that warnings name, the newest first, a crash without its words last."""
    exact, vague = [], []
    for event in scene.events:
        if event.get("type") != "Warning":
            continue
        words, reason = str(event.get("message", "")), str(event.get("reason", ""))
        again, waited_s = count(event) > 1, scene.now - began_at(event)
        if "Failed to pull image" in words or (reason == "InternalError" and "Unable to fetch image" in words):
            exact.append(image_cause(words, "", repeated=again))
        elif reason == "Failed" and words.startswith("Error: ") and not words.endswith(_PULLS):
            exact.append(refused_container(words.removeprefix("Error: ")))
        elif reason == "FailedScheduling":
            exact.append(unplaced(words, scene, waited_s=waited_s))
        elif reason == "FailedCreate":
            exact.append(refused_pod(words, waited_s=waited_s))
        elif reason == "BackOff" and "restarting failed container" in words:
            vague.append(ended_cause(Ended(None, "", again=True), under_load=scene.was_ready))
    return exact + vague


def stuck_causes(scene: Scene) -> list[Cause]:
    """Return why a node does not get a pod's containers under way, though nobody refuses them."""
    waiting = {
        pod.get("metadata", {}).get("name")
        for pod in scene.pods
        if pod.get("status", {}).get("phase") == "Pending" and not pod.get("metadata", {}).get("deletionTimestamp")
    }
    found = []
    for event in scene.events:
        about, reason = event.get("involvedObject", {}).get("name"), event.get("reason")
        if about not in waiting or reason not in _STUCK or count(event) < STUCK:
            continue
        words = str(event.get("message", ""))
        told = refused_container(words)
        if told.finding.what == "container-not-started":
            told = cause("node-trouble", f"the node cannot prepare the pod: {quoted(words)}", conclusive=False)
        found.append(told)
    return found
