"""The embedded platform behind the :class:`mlfn.platforms.Platform` protocol: the door to ``mlfn_local``.

Settings: ``local.state_dir`` (else ``MLFN_STATE_DIR``, else the system's place for state) and ``local.port`` (the
router's port; "" or "0" leaves the choice to the service). Importing and connecting start nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlfn import errors
from mlfn.function import (
    Answer,
    Deployed,
    Finding,
    FunctionSpec,
    FunctionStatus,
    Instance,
    LogLine,
    Revision,
    ScaleDecision,
    Severity,
    Traffic,
    WarmStatus,
)
from mlfn.platforms import Capabilities, DeployRequest, Progress
from mlfn_runtime.signature import ModelSignature

if TYPE_CHECKING:
    from mlfn_local.client import LocalClient
    from mlfn_policies.warm import WarmTerms

__all__ = ["LocalPlatform", "Pruned", "ServiceInfo", "connect", "down", "prune", "service_status", "up"]


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """Describe the background service; all but ``running``, ``state_dir`` and ``version`` are empty when it is down."""

    running: bool
    state_dir: str
    version: str
    pid: int | None = None
    port: int | None = None
    url: str = ""
    started_at: float | None = None
    """Unix time."""
    functions: int = 0
    instances: int = 0
    memory_bytes: int = 0
    """Proportional set size of service, warm parent and instances together."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Tell what was removed from the content store."""

    digests: tuple[str, ...]
    freed_bytes: int


_SETTINGS = frozenset(
    (
        "concurrency",
        "env",
        "max_scale",
        "memory_bytes",
        "min_scale",
        "target",
        "timeout_s",
        "utilization",
        "warm",
        "window_s",
    )
)
_PINGER = "local service"
_CAPABILITIES = Capabilities(
    scale_to_zero=True, traffic_split=True, logs_follow=True, revisions=True, images=False, settings=_SETTINGS
)


class LocalPlatform:
    """Deploy to this machine."""

    name = "local"
    capabilities = _CAPABILITIES

    def __init__(self, client: LocalClient, keep: Mapping[str, float]) -> None:
        self._client = client
        self._keep = keep

    def deploy(self, request: DeployRequest, *, progress: Progress) -> Deployed:
        """Make a revision of the request's model serve as ``spec.name``."""
        from mlfn_local.records import ModelFiles

        spec, package = request.spec, request.package
        model = ModelFiles(
            digest=package.digest,
            entry=package.entry,
            files=package.files,
            format=package.format,
            size_bytes=package.size_bytes,
            signature=package.signature.as_record(),
        )
        params: dict[str, object] = {
            "name": spec.name,
            "settings": _settings_of(spec),
            "model": model.as_json(),
            "root": str(package.root.absolute()),
            "wait": request.wait,
            "keep": self._keep,
        }
        with _told():
            result = self._client.call("deploy", params, progress)
        return Deployed(
            name=spec.name,
            platform=self.name,
            url=result["url"],
            revision=result["revision"],
            previous=result["previous"],
            digest=package.digest,
            changed=result["changed"],
            ready=result["ready"],
            seconds=result["seconds"],
            findings=package.findings,
        )

    def status(self, name: str) -> FunctionStatus:
        """Tell all about one function."""
        if not self._client.has_state():
            raise _not_found(name)
        with _told():
            return _status_of(self._client.call("status", {"name": name}))

    def list(self) -> tuple[FunctionStatus, ...]:
        """Tell all about all functions, sorted by name; starts no service where nothing was ever deployed."""
        if not self._client.has_state():
            return ()
        with _told():
            return tuple(map(_status_of, self._client.call("list", {})))

    def invoke(
        self, name: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, tag: str = ""
    ) -> Answer:
        """Send ``POST path`` to a function, or to one of its tags, through the router."""
        if not self._client.has_state():
            raise _not_found(name)
        with _told():
            route = self._client.call("route", {"name": name, "tag": tag})
        return _post(int(route["port"]), f"/{route['address']}/{path.lstrip('/')}", body, headers, timeout_s)

    def traffic(self, name: str, split: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
        """Set the shares and tags of a function's revisions; those that come in are started first."""
        if not self._client.has_state():
            raise _not_found(name)
        shares = [{"revision": share.revision, "percent": share.percent, "tag": share.tag} for share in split]
        with _told():
            result = self._client.call("traffic", {"name": name, "split": shares})
        return _traffic_of(name, result)

    def logs(self, name: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
        """Yield what a function's instances wrote, those that are gone included."""
        from mlfn_local.logs import follow_lines, last_lines

        if not self._client.has_state():
            raise _not_found(name)
        with _told():
            self._client.call("route", {"name": name})
            folder = self._client.paths.logs / name
            lines = follow_lines(folder, tail) if follow else last_lines(folder, tail)
            for instance, text in lines:
                yield LogLine(instance, text)

    def diagnose(self, name: str) -> tuple[Finding, ...]:
        """Say what is wrong with a function."""
        return self.status(name).findings

    def warm_terms(self, spec: FunctionSpec) -> WarmTerms:
        """Return how such a function goes to zero here: after its window, and the service itself can ping it."""
        from mlfn_policies.warm import WarmTerms

        return WarmTerms(
            window_s=spec.window_s,
            min_scale=spec.min_scale,
            max_scale=spec.max_scale,
            total_value=spec.concurrency or spec.target,
            # The router is always in the path, and no network has to follow.
            target_burst_capacity=-1,
            grace_s=0.0,
            longest_retention_s=0,
            sender=_PINGER,
            exact=True,
        )

    def remove(self, name: str) -> None:
        """Delete a function, its revisions and its logs; its models stay until ``mlfn local prune``."""
        if not self._client.has_state():
            raise _not_found(name)
        with _told():
            self._client.call("remove", {"name": name})


def connect(settings: Mapping[str, str]) -> LocalPlatform:
    """Return the local platform for these settings; does no IO."""
    keep: dict[str, float] = {}
    if count := settings.get("local.keep_revisions"):
        keep["revisions"] = int(count)
    if age := settings.get("local.keep_age"):
        keep["age_s"] = float(age)
    return LocalPlatform(_client(settings), keep)


def up(settings: Mapping[str, str]) -> ServiceInfo:
    """Start the service where it does not run; with ``local.port`` set, move its router there."""
    client = _client(settings)
    with _told():
        client.up()
        return _info(client)


def down(settings: Mapping[str, str]) -> bool:
    """Stop the service and its instances, keep what is deployed; return whether it ran."""
    with _told():
        return _client(settings).down()


def service_status(settings: Mapping[str, str]) -> ServiceInfo:
    """Describe the service without starting it."""
    client = _client(settings)
    with _told():
        return _info(client)


def prune(settings: Mapping[str, str]) -> Pruned:
    """Remove the models that no revision uses."""
    client = _client(settings)
    if not client.has_state():
        return Pruned((), 0)
    with _told():
        result = client.call("prune", {})
    return Pruned(tuple(result["digests"]), result["freed_bytes"])


def _client(settings: Mapping[str, str]) -> LocalClient:
    from mlfn_local.client import LocalClient

    chosen = settings.get("local.state_dir") or os.environ.get("MLFN_STATE_DIR")
    if not chosen:
        from platformdirs import user_state_path

        try:
            chosen = str(user_state_path("mlfn", appauthor=False))
        except RuntimeError as error:
            raise errors.InvalidInput(
                "no place to keep state: this user has no home folder", hints=("set MLFN_STATE_DIR to a folder",)
            ) from error
    port = settings.get("local.port") or "0"
    if not port.isdecimal() or int(port) > 65535:
        raise errors.InvalidInput(f"local.port is {port!r}, expected a number from 0 to 65535")
    return LocalClient(Path(chosen), port=int(port))


def _info(client: LocalClient) -> ServiceInfo:
    from mlfn import __version__

    state_dir = str(client.paths.root)
    hello = client.running()
    if hello is None:
        return ServiceInfo(running=False, state_dir=state_dir, version=__version__)
    if hello.version != __version__:
        # The other version's answers may have another form; its greeting has not.
        return ServiceInfo(True, state_dir, hello.version, hello.pid, hello.port, _root(hello.port), hello.started_at)
    result = client.call("info", {})
    return ServiceInfo(
        running=True,
        state_dir=state_dir,
        version=hello.version,
        pid=hello.pid,
        port=hello.port,
        url=_root(hello.port),
        started_at=hello.started_at,
        functions=result["functions"],
        instances=result["instances"],
        memory_bytes=result["memory_bytes"],
    )


def _root(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _settings_of(spec: FunctionSpec) -> dict[str, Any]:
    return {each.name: getattr(spec, each.name) for each in fields(spec) if each.name in _SETTINGS}


def _status_of(value: Mapping[str, Any]) -> FunctionStatus:
    from mlfn_local.records import FunctionSettings

    name, root = value["name"], _root(value["port"])
    return FunctionStatus(
        name=name,
        platform="local",
        url=f"{root}/{name}",
        ready=value["ready"],
        spec=FunctionSpec(name=name, **asdict(FunctionSettings.from_json(value["settings"]))),
        digest=value["digest"],
        format=value["format"],
        signature=ModelSignature.from_record(value["signature"]),
        created_at=value["created_at"],
        revisions=tuple(map(_revision_of, value["revisions"])),
        traffic=_traffic_of(name, value),
        instances=tuple(Instance(**instance) for instance in value["instances"]),
        decisions=tuple(ScaleDecision(**decision) for decision in value["decisions"]),
        last_errors=tuple(value["last_errors"]),
        findings=tuple(Finding(**{**item, "severity": Severity(item["severity"])}) for item in value["findings"]),
        urls=(f"{root}/{name}", f"http://{name}.localhost:{value['port']}"),
        warm=_warm_of(value),
    )


def _revision_of(value: Mapping[str, Any]) -> Revision:
    return Revision(**{**value, "signature": ModelSignature.from_record(value["signature"])})


def _traffic_of(name: str, value: Mapping[str, Any]) -> tuple[Traffic, ...]:
    root = _root(value["port"])
    return tuple(
        Traffic(**share, url=f"{root}/{share['tag']}-{name}" if share["tag"] else "") for share in value["traffic"]
    )


def _warm_of(value: Mapping[str, Any]) -> WarmStatus:
    settings, pings = value["settings"], value["pings"]
    asked, always = settings.get("warm", "off"), settings["min_scale"]
    return WarmStatus(asked, always) if pings is None else WarmStatus(asked, always, _PINGER, **_renamed(pings))


def _renamed(pings: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: pings[key] for key in ("period_s", "sent", "failed", "last_error")}
    return {**kept, "last_ping_at": pings["last_at"]}


def _post(port: int, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
    import http.client
    import time

    started = time.perf_counter()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        link.request("POST", path, body, dict(headers))
        response = link.getresponse()
        content = response.read()
        return Answer(response.status, dict(response.getheaders()), content, time.perf_counter() - started)
    except TimeoutError as error:
        raise errors.TimedOut(f"no answer from {_root(port)}{path} within {timeout_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise errors.Unreachable(
            f"{_root(port)}{path} cannot be reached: {error}", hints=("look at the service: mlfn local status",)
        ) from error
    finally:
        link.close()


def _not_found(name: str) -> errors.NotFound:
    return errors.NotFound(
        f"there is no function {name!r} on the local platform: nothing is deployed",
        hints=(f"mlfn deploy MODEL --name {name}",),
    )


@contextmanager
def _told() -> Iterator[None]:
    """Turn the failures of ``mlfn_local`` into those of mlfn."""
    from mlfn_local.errors import LocalError

    try:
        yield
    except LocalError as error:
        kinds: dict[str, type[errors.MlfnError]] = {
            "invalid_input": errors.InvalidInput,
            "not_found": errors.NotFound,
            "timed_out": errors.TimedOut,
            "deploy_failed": errors.DeployFailed,
            "unreachable": errors.Unreachable,
            "conflict": errors.Conflict,
        }
        found = kinds.get(error.kind.value, errors.MlfnError)
        raise found(error.message, hints=error.hints, details=error.details) from error
