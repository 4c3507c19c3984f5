"""Make a revision of a function serve: create its action, see it answer, then point the function at it.

Nothing that serves is touched before the new revision has answered; a revision that does not answer is deleted again.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from mlfn.errors import DeployFailed, MlfnError
from mlfn.function import Deployed, ImageRef
from mlfn.platforms import DeployRequest, Progress
from mlfn.platforms.openwhisk.limits import ActionLimits, action_limits, notes
from mlfn.platforms.openwhisk.reads import Api
from mlfn.platforms.openwhisk.records import (
    DIGEST,
    IMAGE,
    MANAGED,
    SPEC,
    annotations_of,
    next_revision,
    revision_annotations,
)
from mlfn.platforms.openwhisk.revisions import Live, read_live
from mlfn.platforms.openwhisk.wsk import BLOCKING_WAIT_ENDED, Ran, Wsk

__all__ = ["Options", "deploy", "point", "text_of", "url_of"]

_PING = ("--param", "mlfn_ping", "true")


@dataclass(frozen=True, slots=True)
class Options:
    """What a function is besides its spec. ``secret``: what callers of the web action have to send, "" for nothing."""

    public: bool = False
    logs_mb: int = 10
    keep: int = 5
    secret: str = ""


def deploy(wsk: Wsk, api: Api, request: DeployRequest, options: Options, *, progress: Progress) -> Deployed:
    """Deploy; an unchanged function is not touched at all. Raises DeployFailed and what `wsk` is refused."""
    started = time.perf_counter()
    spec, image = request.spec, request.image
    assert image is not None  # capabilities.images
    progress("asking OpenWhisk")
    told = api.limits()
    limits = action_limits(spec, options.logs_mb, told)
    live = read_live(api, spec.name, force=request.force)
    current = live.revisions.get(live.current or "")
    changed = current is None or not _same(current, request, image, limits)
    revision = live.current if not changed and live.current else next_revision(spec.name, live.revisions)
    if changed:
        progress(f"creating {revision}")
        _create(wsk, revision, request, image, limits)
        if request.wait:
            progress(f"waiting for {revision} to answer")
            _see_it_answer(wsk, revision)
        progress(f"pointing {spec.name} at {revision}")
        point(wsk, spec.name, revision, options)
        _prune(wsk, live, revision, options.keep)
    return Deployed(
        name=spec.name,
        platform="openwhisk",
        url=url_of(
            wsk.access.host, spec.name, public=options.public, namespace=api.namespace() if options.public else "_"
        ),
        revision=revision,
        previous=live.current if changed else None,
        digest=request.package.digest,
        changed=changed,
        ready=request.wait or not changed,
        seconds={"deploy": time.perf_counter() - started, "total": time.perf_counter() - started},
        findings=notes(limits, told),
        image=image,
    )


def url_of(host: str, name: str, *, public: bool, namespace: str = "_") -> str:
    """Return a function's address: of the web action, or of the API, which wants the credential."""
    if public:
        return f"{host}/api/v1/web/{namespace}/default/{name}.json"
    return f"{host}/api/v1/namespaces/{namespace}/actions/{name}?blocking=true&result=true"


def _same(action: object, request: DeployRequest, image: ImageRef, limits: ActionLimits) -> bool:
    """Tell whether a revision is what a deploy would make."""
    assert isinstance(action, dict)
    kept = annotations_of(action)
    seen = action["limits"]
    return (
        kept.get(SPEC) == json.loads(json.dumps(asdict(request.spec)))
        and kept.get(DIGEST) == request.package.digest
        and kept.get(IMAGE) == image.pinned
        and (seen["memory"], seen["timeout"], seen["logs"], seen.get("concurrency", 1))
        == (limits.memory_mb, limits.timeout_ms, limits.logs_mb, limits.concurrency)
    )


def _create(wsk: Wsk, revision: str, request: DeployRequest, image: ImageRef, limits: ActionLimits) -> None:
    annotations = revision_annotations(request.spec, request.package, image, time.time())
    flags = [word for key, value in annotations.items() for word in ("--annotation", key, text_of(value))]
    # The tag is made of the content: OpenWhisk drops a digest, and `latest` would be pulled for every container.
    wsk.ok("action", "create", revision, "--docker", image.tagged, *limits.flags, *flags)


def text_of(value: object) -> str:
    """Return an annotation's value as `wsk` takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _see_it_answer(wsk: Wsk, revision: str) -> None:
    """Have a new revision answer once, which is a cold start; delete it where it does not."""
    try:
        ran = wsk.run("action", "invoke", revision, "--blocking", "--result", *_PING)
        if ran.code == 0:
            return
        raise DeployFailed(f"{revision} {_why(ran)}", details=f"exit code {ran.code}\n{ran.err.strip()}", hints=_FIXES)
    except BaseException:
        wsk.run("action", "delete", revision)
        raise


_FIXES = (
    "what served before serves on; nothing of the new revision stays",
    "its logs: wsk activation get --last",
)


def _why(ran: Ran) -> str:
    if ran.code == BLOCKING_WAIT_ENDED:
        return "has not answered within OpenWhisk's blocking wait: is the image pulled, has the invoker memory for it?"
    try:
        told = json.loads(ran.err[ran.err.index("{") :])
        return f"did not start: {told['error']}"
    except (ValueError, KeyError, TypeError):
        return f"did not start: {ran.told}"


def point(wsk: Wsk, name: str, revision: str, options: Options) -> None:
    """Have callers of a function reach a revision. One update of the sequence: no request is lost."""
    web = ("--web", "true" if options.public else "false")
    secret = ("--web-secure", options.secret) if options.public and options.secret else ()
    wsk.ok("action", "update", name, "--sequence", revision, "--annotation", MANAGED, "mlfn", *web, *secret)


def _prune(wsk: Wsk, live: Live, revision: str, keep: int) -> None:
    """Delete the oldest revisions beyond ``keep``; the one before stays, whatever its age."""
    held = {revision, live.current}
    old = [each for each in live.revisions if each not in held]
    for each in old[: max(0, len(live.revisions) + 1 - keep)]:
        try:
            wsk.ok("action", "delete", each)
        except MlfnError:
            return  # the function serves; the next deploy tries again
