"""What an experiment is: a cluster, the work that comes, how it is scheduled, and how it is run. Frozen values.

A YAML file has the same names as the fields here. What a field means and which values it takes stands in its metadata:
the reader refuses by it, the JSON Schema and the reference page are made of it. Amounts of time are numbers, with the
unit in the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Api",
    "Arrivals",
    "Cluster",
    "Failures",
    "Function",
    "Generator",
    "Lifetime",
    "NodeEvent",
    "Pods",
    "Run",
    "Scenario",
    "Scheduler",
    "ServiceTime",
    "Workload",
]

SHAPES = ("homogeneous", "zones", "gpu-mix", "core-edge")
ENGINES = ("fast", "reference")
_LONGEST_S = 31_536_000
"""A year."""
_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
"""What Kubernetes takes as a name and as a label's value."""


def _value(default: Any, says: str, **rule: Any) -> Any:
    """Give a field a default, its meaning, and its rule: above, at_least, at_most, one_of, form, quantity, needed."""
    how = {"default_factory": default} if callable(default) else {"default": default}
    return field(**how, metadata=_meant(says, **rule))


def _meant(says: str, **rule: Any) -> Mapping[str, Any]:
    return {"says": says, **rule}


@dataclass(frozen=True, slots=True)
class Generator:
    """Make nodes up, as `mlfn sim generate` does."""

    shape: str = _value("homogeneous", "What the nodes are like.", one_of=SHAPES)
    nodes: int = _value(10, "How many there are.", at_least=1, at_most=1_000_000)


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Let something happen to nodes at one moment."""

    at_s: float = _value(0.0, "When, since the start.", at_least=0, at_most=_LONGEST_S)
    what: str = _value(
        "fail",
        "`fail`: nodes go, with their pods. `repair`: those that failed come back, empty. `add`: more nodes of the "
        "generator's shape. `cordon` and `uncordon`: nodes take no new pods, and take them again.",
        one_of=("fail", "repair", "add", "cordon", "uncordon"),
    )
    nodes: int = _value(0, "How many, drawn by chance; for `repair` and `uncordon`, 0 means all.", at_least=0)
    names: tuple[str, ...] = _value((), "Which, by name, in place of `nodes`.")


@dataclass(frozen=True, slots=True)
class Failures:
    """Let nodes fail by chance, each on its own, and come back."""

    mean_time_to_failure_s: float = _value(86_400.0, "Mean life of a node (exponential).", at_least=1)
    mean_repair_s: float = _value(600.0, "Mean time until it is back, empty (exponential).", at_least=1)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Say which nodes there are; either `file` or `generate`."""

    file: str = _value("", "A cluster that `mlfn sim import` or `generate` wrote, beside the scenario.")
    generate: Generator | None = field(default=None, metadata=_meant("Make the nodes up."))
    events: tuple[NodeEvent, ...] = _value((), "What happens to nodes, and when.")
    failures: Failures | None = field(default=None, metadata=_meant("Failures by chance."))


@dataclass(frozen=True, slots=True)
class Function:
    """Describe the pods of a function. They have the labels `app: NAME` and those given."""

    name: str = _value("", "Its name, in small letters, digits and dashes.", form=_NAME, needed=True)
    copies: int = _value(1, "So many functions of this kind, NAME-0, NAME-1, …", at_least=1, at_most=100_000)
    share: float = _value(1.0, "How often pods of it come, against the others.", above=0)
    cpu: str = _value("100m", "cpu that a pod asks for.", quantity="cpu")
    memory: str = _value("128Mi", "Memory that a pod asks for.", quantity="memory")
    gpus: int = _value(0, "Whole GPUs (`nvidia.com/gpu`) that a pod asks for.", at_least=0, at_most=1024)
    resources: Mapping[str, str] = _value(dict, "Other resources that a pod asks for, by name.")
    labels: Mapping[str, str] = _value(dict, "More labels of its pods.")
    priority: int = _value(0, "Higher ones go first, and push others out.", at_least=-(2**31), at_most=10**9)
    service: bool = _value(False, "A Service selects its pods: the scheduler's default spread counts for them.")
    image: str = _value("", "Image of its container, for image locality.")
    image_mib: int = _value(500, "Size of the image.", at_least=0, at_most=1_000_000)
    image_on: float = _value(0.0, "Share of the nodes, drawn by chance, that have the image.", at_least=0, at_most=1)
    constraints: Mapping[str, Any] = _value(
        dict,
        "`nodeSelector`, `affinity`, `tolerations` and `topologySpreadConstraints`, as Kubernetes writes them.",
        kubernetes=True,
    )


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Say when pods come."""

    process: str = _value(
        "poisson",
        "`poisson`: `rate_per_s` in the mean, at random. `constant`: `rate_per_s`, evenly. `burst`: `burst_pods` at "
        "once, every `every_s`.",
        one_of=("poisson", "constant", "burst"),
    )
    rate_per_s: float = _value(10.0, "Pods in a second.", above=0, at_most=1_000_000)
    burst_pods: int = _value(100, "Pods of one burst.", at_least=1, at_most=10_000_000)
    every_s: float = _value(60.0, "Time between bursts.", above=0, at_most=_LONGEST_S)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Say how long a pod stays, counted from when it is bound."""

    distribution: str = _value(
        "forever",
        "`forever`, `constant`, `exponential`, or `lognormal` with the shape `sigma`.",
        one_of=("forever", "constant", "exponential", "lognormal"),
    )
    mean_s: float = _value(60.0, "Mean.", above=0, at_most=_LONGEST_S)
    sigma: float = _value(1.0, "Standard deviation of a lognormal lifetime's logarithm.", above=0, at_most=10)


@dataclass(frozen=True, slots=True)
class Pods:
    """Say how pods come and go."""

    arrivals: Arrivals = field(default_factory=Arrivals, metadata=_meant("When they come."))
    lifetime: Lifetime = field(default_factory=Lifetime, metadata=_meant("How long they stay."))
    file: str = _value("", "In place of functions: the waiting pods of a cluster's file, in order, again and again.")
    trace: str = _value(
        "", "In place of arrivals and lifetime: a CSV file with `time_s`, `function` and, if they end, `lifetime_s`."
    )
    replaced: bool = _value(True, "A pod that its node or a preemption cut short comes again, as from a ReplicaSet.")


@dataclass(frozen=True, slots=True)
class Workload:
    """Say what work comes."""

    functions: tuple[Function, ...] = _value((), "What there is to run.")
    zipf: float = _value(
        0.0,
        "Popularity: the k-th function (copies counted) has its share times k to the power of minus this.",
        at_least=0,
        at_most=10,
    )
    pods: Pods = field(default_factory=Pods, metadata=_meant("How their pods come and go."))


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Say how long a scheduling cycle takes."""

    model: str = _value(
        "measured",
        "`measured`: as fitted to the real scheduler. `fixed`: `fixed_us`, whatever it looks at.",
        one_of=("measured", "fixed"),
    )
    speed: float = _value(1.0, "Of the measured model: 2 is a machine twice as fast.", above=0, at_most=1000)
    fixed_us: int = _value(1000, "Of the fixed model; 0: no time at all.", at_least=0, at_most=60_000_000)


@dataclass(frozen=True, slots=True)
class Api:
    """Say how the API server answers: a pod is bound by one call."""

    latency_ms: float = _value(2.0, "Median of a call.", at_least=0, at_most=600_000)
    spread: float = _value(0.0, "Standard deviation of the latency's logarithm.", at_least=0, at_most=10)
    failure_rate: float = _value(0.0, "Share of bindings that fail and are tried again.", at_least=0, at_most=0.99)
    client_per_s: float = _value(0.0, "Calls that the scheduler allows itself; 0: no limit.", at_least=0)
    client_burst: int = _value(100, "Calls that it may save up.", at_least=1)


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Say who places the pods."""

    policy: str = _value(
        "kube-default",
        "kube-scheduler's scores (`kube-default`, `most-allocated`, `requested-to-capacity`), another built-in policy, "
        "or your own as `module:name`. All of them keep Kubernetes' filters.",
    )
    profile: str = _value("", "A KubeSchedulerConfiguration, beside the scenario.")
    profile_name: str = _value("", "Profile of that file, by `schedulerName`; the first without it.")
    percentage_of_nodes_to_score: int | None = _value(
        None, "In place of the profile's; 0 is the adaptive share.", at_least=0, at_most=100
    )
    ties: str = _value("random", "Which of equally good nodes: by chance, or the first.", one_of=("random", "first"))
    service_time: ServiceTime = field(default_factory=ServiceTime, metadata=_meant("How long a decision takes."))
    api: Api = field(default_factory=Api, metadata=_meant("How long a binding takes."))
    grace_s: float = _value(0.0, "How long a deleted pod goes on to hold its node.", at_least=0, at_most=86_400)


@dataclass(frozen=True, slots=True)
class Run:
    """Say how long, and how often."""

    duration_s: float = _value(60.0, "Simulated time; pods come until then.", above=0, at_most=_LONGEST_S)
    pods: int = _value(
        0, "Let only so many come, and stop once none of them waits; 0: no such limit.", at_least=0, at_most=100_000_000
    )
    warm_up_s: float = _value(0.0, "Time at the start that the figures leave out.", at_least=0)
    seeds: int = _value(1, "How many runs, each with the next seed.", at_least=1, at_most=100_000)
    first_seed: int = _value(1, "Seed of the first run.", at_least=0, at_most=2**53)
    samples: int = _value(100, "Moments at which the cluster is looked at.", at_least=2, at_most=100_000)
    engine: str = _value("fast", "`fast` (compiled) or `reference` (readable); they decide alike.", one_of=ENGINES)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Hold an experiment."""

    name: str = _value("", "Its name, in small letters, digits and dashes.", form=_NAME, needed=True)
    about: str = _value("", "What it is for.")
    cluster: Cluster = field(default_factory=Cluster, metadata=_meant("The nodes.", needed=True))
    workload: Workload = field(default_factory=Workload, metadata=_meant("The work.", needed=True))
    scheduler: Scheduler = field(default_factory=Scheduler, metadata=_meant("Who places it."))
    run: Run = field(default_factory=Run, metadata=_meant("How long, and how often."))
