"""Functions on Apache OpenWhisk: each revision a docker action, each function a sequence of one step before it."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlfn.errors import InvalidInput, NotFound
from mlfn.function import (
    Answer,
    Deployed,
    Finding,
    FunctionSpec,
    FunctionStatus,
    LogLine,
    Severity,
    Traffic,
    Warmth,
)
from mlfn.nearest import did_you_mean
from mlfn.platforms import Capabilities, DeployRequest, Progress, Project
from mlfn.platforms.openwhisk.access import find_access
from mlfn.platforms.openwhisk.deploying import Options, deploy, point, url_of
from mlfn.platforms.openwhisk.reads import Api
from mlfn.platforms.openwhisk.records import DIGEST, FORMAT, annotations_of, read_signature, read_spec
from mlfn.platforms.openwhisk.revisions import Live, read_all, read_live, require_live, to_revision
from mlfn.platforms.openwhisk.wsk import Wsk

if TYPE_CHECKING:
    from mlfn.platforms.openwhisk.access import Access
    from mlfn_policies.warm_openwhisk import TouchPlan

__all__ = ["OpenWhiskPlatform", "connect"]

_SETTINGS = frozenset(("concurrency", "memory_bytes", "timeout_s", "annotations"))
_LOOKED_AT = 20
_PER_MINUTE = 120
_FOLLOW_S = 1.0


class OpenWhiskPlatform:
    """Deploy to the namespace of one OpenWhisk credential."""

    name = "openwhisk"
    capabilities = Capabilities(
        scale_to_zero=True,
        traffic_split=False,
        logs_follow=True,
        revisions=True,
        images=True,
        settings=_SETTINGS,
        instances=False,
        paths=False,
    )

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings

    def deploy(self, request: DeployRequest, *, progress: Progress) -> Deployed:
        """Make a revision serve; on failure what served before serves on and nothing of the new one stays."""
        return deploy(self._wsk(), self._api(), request, self._options(), progress=progress)

    def foresee(self, spec: FunctionSpec, *, force: bool) -> None:
        """Raise what a deploy would raise whatever the image is; changes nothing."""
        from mlfn.platforms.openwhisk.limits import action_limits

        self._wsk()
        api = self._api()
        action_limits(spec, self._options().logs_mb, api.limits())
        read_live(api, spec.name, force=force)

    def project(self, request: DeployRequest) -> Project:
        """Return what a deploy would do, for Git; asks nobody."""
        from mlfn.platforms.openwhisk.project import project

        return project(request, self._options())

    def status(self, name: str) -> FunctionStatus:
        """Tell all about one function."""
        api = self._api()
        live = require_live(api, name)
        return self._status(live, self._findings(api, live))

    def list(self) -> tuple[FunctionStatus, ...]:
        """Tell all about all functions, sorted by name; what is wrong with each, ``status`` tells."""
        return tuple(self._status(live, ()) for live in read_all(self._api()))

    def invoke(
        self, name: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, tag: str = ""
    ) -> Answer:
        """Invoke a function's action with a JSON object; there is one way in, so ``path`` says nothing."""
        api = self._api()
        require_live(api, name)
        if tag:
            raise InvalidInput(f"{name} has no tag {tag!r}: on {self.name} there are none")
        answer = api.invoke(name, body, timeout_s)
        if answer.status == 502 and "error" in _object(answer.body):
            return Answer(400, answer.headers, answer.body, answer.seconds)  # the function's own error
        return answer

    def touch_plan(self, name: str, instances: int, period_s: int) -> TouchPlan:
        """Return how often so many calls at once keep as many containers; the quota is the server's own."""
        from mlfn_policies.warm_openwhisk import touch_plan

        api = self._api()
        require_live(api, name)
        per_minute = api.limits().get("invocationsPerMinute", _PER_MINUTE)
        try:
            return touch_plan(instances, per_minute, period_s=period_s)
        except ValueError as error:
            raise InvalidInput(str(error), hints=("fewer --instances, or a longer --period",)) from error

    def touch(self, name: str, plan: TouchPlan) -> None:
        """Touch the containers of the current revision, all at once."""
        from mlfn.platforms.openwhisk.touching import touch

        api = self._api()
        current = require_live(api, name).current
        touch(api, str(current), plan.containers, plan.hold_s)

    def warmth(self, name: str) -> Warmth:
        """Tell from the newest 200 records of the current revision how warm it has been."""
        from mlfn.platforms.openwhisk.touching import warmth

        api = self._api()
        return warmth(api.activations(str(require_live(api, name).current), count=200))

    def traffic(self, name: str, split: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
        """Go to the one revision that is given 100 percent; a share of less cannot be had here."""
        live = require_live(self._api(), name)
        wanted = [each for each in split if each.percent]
        if len(wanted) != 1 or wanted[0].percent != 100 or any(each.tag for each in split):
            raise InvalidInput(
                f"the traffic of {name} cannot be split: on {self.name} one revision gets all requests, without tags",
                hints=(f"mlfn rollback {name} --to REVISION", "shares and tags: --platform knative"),
            )
        revision = wanted[0].revision
        if revision not in live.revisions:
            raise InvalidInput(
                f"{name} has no revision {revision!r}",
                hints=(*did_you_mean(revision, live.revisions), f"its revisions: {', '.join(live.revisions)}"),
            )
        head = annotations_of(live.head or {})
        secret = head.get("require-whisk-auth")
        public = bool(head.get("web-export"))
        point(self._wsk(), name, revision, Options(public=public, secret=secret if isinstance(secret, str) else ""))
        return (Traffic(revision, 100),)

    def logs(self, name: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
        """Yield the log lines of a function's activations; an "instance" is the activation that wrote a line."""
        api = self._api()
        live = require_live(api, name)
        seen: set[str] = set()
        lines = [line for record in self._records(api, live, seen) for line in _lines(record)]
        yield from lines if tail < 0 else lines[max(0, len(lines) - tail) :]
        while follow:
            time.sleep(_FOLLOW_S)
            for record in self._records(api, live, seen):
                yield from _lines(record)

    def diagnose(self, name: str) -> tuple[Finding, ...]:
        """Say what is wrong with a function."""
        api = self._api()
        return self._findings(api, require_live(api, name))

    def remove(self, name: str) -> None:
        """Delete a function: first what callers reach, then its revisions."""
        live = require_live(self._api(), name)
        wsk = self._wsk()
        for each in (name, *live.revisions):
            ran = wsk.run("action", "delete", each)
            if ran.code not in (0, 148):  # 404: somebody was faster
                wsk.ok("action", "delete", each)

    def _access(self) -> Access:
        host, insecure = self._settings.get("openwhisk.apihost", ""), self._settings.get("openwhisk.insecure") == "True"
        return find_access(host, insecure)

    def _wsk(self) -> Wsk:
        return Wsk.find(self._access(), self._settings.get("openwhisk.wsk", ""))

    def _api(self) -> Api:
        return Api(self._access())

    def _options(self) -> Options:
        return Options(
            public=self._settings.get("openwhisk.public") == "True",
            logs_mb=int(self._settings.get("openwhisk.logs_mb", "10")),
            keep=int(self._settings.get("openwhisk.keep", "5")),
        )

    def _records(self, api: Api, live: Live, seen: set[str]) -> builtins.list[dict[str, Any]]:
        """Return the records that have not been seen, oldest first."""
        found = [record for name in live.revisions for record in api.activations(name, count=200)]
        new = [record for record in found if record["activationId"] not in seen]
        seen.update(record["activationId"] for record in new)
        return sorted(new, key=lambda record: record["start"])

    def _status(self, live: Live, findings: tuple[Finding, ...]) -> FunctionStatus:
        assert live.head is not None
        current = live.revisions.get(live.current or "")
        if current is None:
            raise NotFound(
                f"{live.name} points at {live.current!r}, which is not there",
                hints=(f"mlfn deploy MODEL --name {live.name} --platform openwhisk",),
            )
        head = annotations_of(live.head)
        kept = annotations_of(current)
        namespace = str(live.head["namespace"])
        public = bool(head.get("web-export"))
        host = self._access().host
        url = url_of(host, live.name, public=public, namespace=namespace if public else "_")
        return FunctionStatus(
            name=live.name,
            platform=self.name,
            url=url,
            ready=not any(each.severity is Severity.ERROR for each in findings),
            spec=read_spec(current),
            digest=str(kept.get(DIGEST, "")),
            format=str(kept.get(FORMAT, "")),
            signature=read_signature(current),
            created_at=min(to_revision(each).created_at for each in live.revisions.values()),
            revisions=tuple(map(to_revision, live.revisions.values())),
            traffic=(Traffic(str(live.current), 100),),
            instances=(),
            decisions=(),
            last_errors=tuple(each.message for each in findings if each.severity is Severity.ERROR),
            findings=findings,
            urls=(url,),
        )

    def _findings(self, api: Api, live: Live) -> tuple[Finding, ...]:
        """Judge by the newest record of the current revision."""
        if live.current is None:
            return ()
        records = api.activations(live.current, count=_LOOKED_AT)
        if not records or records[0]["response"]["success"]:
            return ()
        newest = records[0]["response"]
        if newest["status"] == "application error":
            return ()  # a caller's mistake
        failed = sum(not record["response"]["success"] for record in records)
        error = newest["result"].get("error", "") if isinstance(newest["result"], dict) else newest["result"]
        return (
            Finding(
                Severity.ERROR,
                newest["status"].replace(" ", "-"),
                f"{live.current}: {error}",
                seen=f"{failed} of the last {len(records)} activations",
                expected="success",
                fix=f"mlfn logs {live.name} --platform openwhisk",
            ),
        )


def _lines(record: Mapping[str, Any]) -> builtins.list[LogLine]:
    return [LogLine(str(record["activationId"]), str(text)) for text in record.get("logs", ())]


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def connect(settings: Mapping[str, str]) -> OpenWhiskPlatform:
    """Return the platform for the user's settings; asks nobody yet."""
    return OpenWhiskPlatform(settings)
