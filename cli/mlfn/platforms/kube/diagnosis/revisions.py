"""Say what the platform itself tells of a revision: the conditions of Revision, Configuration and Deployment. Pure."""

from __future__ import annotations

import re

from mlfn.platforms.kube.diagnosis.causes import Cause, cause, quoted
from mlfn.platforms.kube.diagnosis.creation import refused_pod
from mlfn.platforms.kube.diagnosis.images import image_cause, looks_like_a_pull
from mlfn.platforms.kube.diagnosis.pods import Ended, ended_cause, refused_container
from mlfn.platforms.kube.diagnosis.scene import Scene, count, seconds
from mlfn.platforms.kube.instances import condition

__all__ = ["revision_causes", "verdict"]

AGAIN = 3
"""Knative tries an image that it could not resolve again, and counts; so often, and the registry is away for good."""
MOMENT_S = 2.0
_EXIT_CODE = re.compile(r"ExitCode(\d+)")
_NOT_MADE = re.compile(r"Revision creation failed with message: (?P<reason>.*)", re.DOTALL)


def revision_causes(scene: Scene) -> list[Cause]:
    """Return the causes that conditions name."""
    healthy = condition(scene.revision, "ContainerHealthy")
    configured = condition(scene.configuration, "Ready")
    found = []
    if configured.get("status") == "False" and (refused := _NOT_MADE.search(str(configured.get("message", "")))):
        found.append(refused_pod(refused["reason"], waited_s=scene.now - seconds(configured.get("lastTransitionTime"))))
    if healthy.get("status") != "False":
        healthy = condition(scene.revision, "ResourcesAvailable")
    if healthy.get("status") != "False":
        return found
    reason, words = str(healthy.get("reason", "")), str(healthy.get("message", ""))
    if reason == "ContainerMissing":
        found.append(image_cause(words, "", repeated=_again(scene, words)))
    elif ended := _EXIT_CODE.fullmatch(reason):
        found.append(_ended(int(ended[1]), words, scene))
    elif reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName") or looks_like_a_pull(words):
        found.append(image_cause(words, "", repeated=True))
    elif reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        found.append(refused_container(words))
    return found


def _ended(code: int, words: str, scene: Scene) -> Cause:
    """Tell an exit code of the Revision, which keeps the log's words but not that memory ran out."""
    words = words.removeprefix("Container failed with: ")
    return ended_cause(Ended(code, words, out_of_memory=code == 137, again=True), under_load=scene.was_ready)


def _again(scene: Scene, words: str) -> bool:
    """Return whether Knative tried often enough, for longer than a moment: its first tries come within one."""
    same = [each for each in scene.events if quoted(words)[:60] in quoted(str(each.get("message")))]
    waited_s = scene.now - seconds(condition(scene.revision, "ContainerHealthy").get("lastTransitionTime"))
    return waited_s >= MOMENT_S and max(map(count, same), default=1) >= AGAIN


def verdict(scene: Scene) -> Cause | None:
    """Return what the platform says when nothing tells the cause: it gave up, or failed for a reason of its own."""
    if scene.gave_up:
        message = "the revision was not ready before the platform's own deadline, and nothing tells why any more"
        return cause("not-ready-in-time", message, conclusive=True)
    told = condition(scene.revision, "Ready")
    if told.get("status") != "False":
        return None
    waited_s = scene.now - seconds(told.get("lastTransitionTime"))
    reason, words = str(told.get("reason", "")), quoted(str(told.get("message", "")))
    return cause(
        "revision-failed", f"the platform says {reason}: {words}", conclusive=waited_s >= MOMENT_S, seen=reason
    )
