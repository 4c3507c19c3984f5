"""The values that travel between models, platforms and commands. Pure data: no IO, no third-party imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mlfn_runtime.signature import ModelSignature

__all__ = [
    "Answer",
    "Deployed",
    "Finding",
    "FunctionSpec",
    "FunctionStatus",
    "ImageRef",
    "Instance",
    "LogLine",
    "ModelPackage",
    "Revision",
    "ScaleDecision",
    "Severity",
    "Traffic",
    "WarmStatus",
    "Warmth",
]


class Severity(StrEnum):
    """How much a finding matters: an error stops the work, a warning is told, an info is there for who looks."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """Tell one thing that is wrong or worth knowing, with its fix."""

    severity: Severity
    what: str
    """A stable kebab-case code, such as ``fixed-batch`` (docs/reference/findings.md lists all)."""
    message: str
    seen: str = ""
    expected: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the finding for ``-o json``."""
        return {
            "severity": self.severity.value,
            "what": self.what,
            "message": self.message,
            "seen": self.seen,
            "expected": self.expected,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """Hold a model as it lies on disk: its files, and what reading them told.

    ``digest`` is ``sha256:`` and the SHA-256 of the file; with more than one file, of the ``sha256sum`` listing of all
    files sorted by name (``HEX  NAME\\n``), so that both can be checked with coreutils.
    """

    root: Path
    """The folder that ``files`` are relative to."""
    entry: str
    """The file that the runtime loads, relative to ``root``."""
    files: tuple[str, ...]
    """All files of the model (the entry, external data), relative to ``root``, sorted."""
    format: str
    signature: ModelSignature
    digest: str
    size_bytes: int
    opsets: Mapping[str, int]
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings that forbid serving the model."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Name one image: where it lies and, by its digest, which bytes it is."""

    registry: str
    """Host, with its port where it has one."""
    repository: str
    tag: str
    """Made of the image's content, or what the user gave; "" = none."""
    digest: str
    """``sha256:…`` of the manifest or index."""

    @property
    def name(self) -> str:
        """Return ``registry/repository``."""
        return f"{self.registry}/{self.repository}"

    @property
    def tagged(self) -> str:
        """Return ``registry/repository:tag``, for people to read."""
        return f"{self.name}:{self.tag}" if self.tag else self.name

    @property
    def pinned(self) -> str:
        """Return ``registry/repository@digest``, which never changes its meaning."""
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """Say what a function should be. Scaling fields carry Knative's meaning, ranges and defaults."""

    name: str
    metric: str = "concurrency"
    """What the autoscaler counts: ``concurrency`` or ``rps``."""
    concurrency: int = 0
    """Requests that one instance may run at once; 0 = no limit (containerConcurrency)."""
    target: float = 100.0
    """Concurrent requests per instance that the autoscaler aims at, before utilisation (at most ``concurrency``)."""
    utilization: float = 0.7
    """Share of ``target`` that the autoscaler plans for (target-utilization-percentage / 100)."""
    min_scale: int = 0
    max_scale: int = 0
    """0 = no bound; the local platform reads it as the number of cores."""
    window_s: int = 60
    """The stable window, 6 to 3600 seconds."""
    cpu_millis: int = 0
    """Thousandths of a core for one instance; 0 = the platform's own share."""
    memory_bytes: int = 0
    """Memory limit of one instance; 0 = none."""
    timeout_s: float = 300.0
    """Longest time that one request may take, queueing included."""
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict)
    """Environment variable -> ``SECRET/KEY`` of the platform's secret store."""
    warm: str = "off"
    """``off``, ``auto``, or the period of warm pings such as ``45s``."""
    visibility: str = "public"
    """``public`` (whoever reaches the platform's ingress) or ``cluster`` (only from within)."""
    service_account: str = ""
    image_pull_secret: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployed:
    """Tell the outcome of a deploy."""

    name: str
    platform: str
    url: str
    revision: str
    previous: str | None
    """The revision that served before; None for a first deploy."""
    digest: str
    changed: bool
    """False when the same model and settings were already deployed: nothing was done."""
    ready: bool
    """False only with ``--no-wait``."""
    seconds: Mapping[str, float]
    """Stages of the deploy: ``total``, ``inspect``, ``store``, ``start`` …"""
    findings: tuple[Finding, ...] = ()
    image: ImageRef | None = None
    """What runs, on a platform of images."""
    warm: str = ""
    """How it is kept warm and what that costs; "" where nothing was asked for."""


@dataclass(frozen=True, slots=True)
class Instance:
    """Describe one running copy."""

    id: str
    revision: str
    state: str
    """``starting``, ``ready``, ``draining`` or ``failed``."""
    pid: int | None
    address: str
    started_at: float
    """Unix time."""
    memory_bytes: int
    in_flight: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Revision:
    """Describe one immutable version of a function."""

    name: str
    digest: str
    created_at: float
    """Unix time."""
    state: str
    """``pending``, ``ready`` or ``failed``."""
    settings: Mapping[str, object]
    signature: ModelSignature | None = None
    """Of its model, where the platform still has it."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Say which share of requests a revision gets."""

    revision: str
    percent: int
    tag: str = ""
    """A name under which this revision alone is reached, whatever its share."""
    url: str = ""
    """Address of the tag."""


@dataclass(frozen=True, slots=True)
class ScaleDecision:
    """Tell one change of scale and its reason."""

    at: float
    """Unix time."""
    revision: str
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class WarmStatus:
    """Tell how a function is kept warm, as the platform finds it."""

    asked: str
    """``off``, ``auto`` or a period, as the deploy said it."""
    always: int = 0
    """Instances that are there whatever happens."""
    sender: str = ""
    """What sends pings (``PingSource``, ``CronJob``, ``local service``); "" = nothing does."""
    period_s: int = 0
    """Of the pings; 0 = none."""
    sent: int | None = None
    """Pings since the sender started; None where the platform does not count them."""
    failed: int | None = None
    last_ping_at: float | None = None
    """Unix time."""
    last_error: str = ""
    """Of the last ping that failed, or why pings cannot be sent."""


@dataclass(frozen=True, slots=True)
class Warmth:
    """Count how warm a function has been, as the records of its calls tell."""

    calls: int
    """Of callers; pings apart."""
    cold: int
    pings: int
    cold_pings: int
    ping_seconds: float
    """Time that pings ran in containers."""


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """Tell everything that a platform knows about a function."""

    name: str
    platform: str
    url: str
    ready: bool
    spec: FunctionSpec
    digest: str
    format: str
    signature: ModelSignature
    created_at: float
    revisions: tuple[Revision, ...]
    traffic: tuple[Traffic, ...]
    instances: tuple[Instance, ...]
    decisions: tuple[ScaleDecision, ...]
    last_errors: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    """What is wrong now, such as a crash loop."""
    urls: tuple[str, ...] = ()
    """Every address; ``url`` is the canonical one."""
    warm: WarmStatus | None = None
    """How it is kept warm, where the platform tells."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold the HTTP answer of an invocation."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    via: str = ""
    """The way that led to the function, where there is more than one: its address, an ingress, a port-forward."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """Hold one line that an instance wrote."""

    instance: str
    text: str
