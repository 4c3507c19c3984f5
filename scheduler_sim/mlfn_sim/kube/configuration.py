"""Read a KubeSchedulerConfiguration: which plugins, with which weights and arguments.

What the engines do not have is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.profile import FILTERS, SCORES, Profile, Strategy
from mlfn_sim.kube.reading import Reader

__all__ = ["read_profile"]

_PASSIVE = frozenset(
    (
        "DefaultBinder",
        "DefaultPreemption",
        "DynamicResources",
        "NodeVolumeLimits",
        "PrioritySort",
        "SchedulingGates",
        "VolumeBinding",
        "VolumeRestrictions",
        "VolumeZone",
    )
)
"""Plugins of the default profile that decide nothing about functions' pods: no volumes, no claims."""
_ARGUMENTS = {
    "InterPodAffinity": ("hardPodAffinityWeight",),
    "NodeAffinity": ("addedAffinity",),
    "NodeResourcesBalancedAllocation": ("resources",),
    "NodeResourcesFit": ("scoringStrategy",),
    "PodTopologySpread": ("defaultConstraints", "defaultingType"),
}
"""What is honoured of the arguments of the plugins that decide."""
_POINTS = frozenset(
    [
        "bind",
        "filter",
        "multiPoint",
        "permit",
        "postBind",
        "postFilter",
        "preBind",
        "preEnqueue",
        "preFilter",
        "preScore",
        "queueSort",
        "reserve",
        "score",
    ]
)
_IGNORED = frozenset(
    [
        "apiVersion",
        "kind",
        "metadata",
        "parallelism",
        "leaderElection",
        "clientConnection",
        "enableProfiling",
        "enableContentionProfiling",
    ]
)
"""What changes no decision: the simulated scheduler is exact, as the real one is with one worker."""
_KNOWN = _IGNORED | {"profiles", "percentageOfNodesToScore", "podInitialBackoffSeconds", "podMaxBackoffSeconds"}
_DEFAULT_NAME = "default-scheduler"
_MOST_WEIGHT = 1_000_000
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


def read_profile(path: Path, scheduler: str = "") -> Profile:
    """Return what ``path`` configures for one scheduler (the first, without a name). Raises RecordingError."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from error
    return _Reading(path).profile(document, scheduler)


class _Reading:
    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, problem: str) -> NoReturn:
        raise RecordingError(f"{self.path}: {problem}")

    def profile(self, document: Any, scheduler: str) -> Profile:
        if not isinstance(document, dict) or document.get("kind") != "KubeSchedulerConfiguration":
            self.fail("is no KubeSchedulerConfiguration; expected that kind")
        unknown = sorted(set(document) - _KNOWN)
        if unknown:
            self.fail(f"has {unknown[0]}, which mlfn does not simulate")
        profiles = self.mappings(document, "profiles") or [{}]
        names = [str(each.get("schedulerName") or _DEFAULT_NAME) for each in profiles]
        for name in names:
            if names.count(name) > 1:
                self.fail(f"has the profile {name!r} {names.count(name)} times; expected one of each schedulerName")
        named = [each for each, name in zip(profiles, names, strict=True) if scheduler in ("", name)]
        if not named:
            known = ", ".join(names)
            self.fail(f"has no profile for the scheduler {scheduler!r}; it has {known}")
        chosen = named[0]
        percentage = self.whole(chosen, "percentageOfNodesToScore", document.get("percentageOfNodesToScore") or 0, 100)
        profile = Profile(
            percentage=percentage,
            initial_backoff_s=float(self.whole(document, "podInitialBackoffSeconds", 1, _MOST_WEIGHT) or 1),
            max_backoff_s=float(self.whole(document, "podMaxBackoffSeconds", 10, _MOST_WEIGHT) or 10),
        )
        profile = self.with_plugins(profile, self.mapping(chosen, "plugins"))
        for each in self.mappings(chosen, "pluginConfig"):
            profile = self.with_arguments(profile, str(each.get("name")), self.mapping(each, "args"))
        return profile

    def with_plugins(self, profile: Profile, plugins: Mapping[str, Any]) -> Profile:
        weights, filters = dict(profile.weights), set(profile.filters)
        # What is said of one extension point wins over multiPoint, wherever it stands.
        for point in sorted(plugins, key=lambda point: point != "multiPoint"):
            if point not in _POINTS:
                self.fail(f"has the unknown extension point plugins.{point}")
            sets = self.mapping(plugins, point)
            for each in self.mappings(sets, "disabled"):
                self.disable(point, str(each.get("name")), weights, filters)
            for each in self.mappings(sets, "enabled"):
                name = self.known(str(each.get("name")), f"plugins.{point}.enabled")
                if name in SCORES and point in ("score", "multiPoint"):
                    # The scheduler takes a missing weight, and 0, as 1: only disabling switches a plugin off.
                    weights[name] = self.whole(each, "weight", 1, _MOST_WEIGHT) or 1
                if name in FILTERS and point in ("filter", "multiPoint"):
                    filters.add(name)
        if "NodeResourcesFit" not in filters:
            self.fail("disables the filter NodeResourcesFit, which mlfn does not simulate: nodes would be overbooked")
        if not weights:
            self.fail("disables every score, which mlfn does not simulate: the first node that fits would be taken")
        return replace(profile, weights=weights, filters=frozenset(filters))

    def disable(self, point: str, name: str, weights: dict[str, int], filters: set[str]) -> None:
        gone = {*SCORES, *FILTERS} if name == "*" else {self.known(name, f"plugins.{point}.disabled")}
        if point in ("score", "multiPoint"):
            for each in gone:
                weights.pop(each, None)
        if point in ("filter", "multiPoint"):
            filters -= gone

    def known(self, name: str, where: str) -> str:
        if name not in SCORES and name not in FILTERS and name not in _PASSIVE:
            self.fail(f"names the plugin {name!r} in {where}, which mlfn does not have")
        return name

    def with_arguments(self, profile: Profile, name: str, args: Mapping[str, Any]) -> Profile:
        self.known(name, "pluginConfig")
        honoured = ("apiVersion", "kind", *_ARGUMENTS.get(name, ()))
        ignored = sorted(key for key, value in args.items() if value and key not in honoured)
        if ignored and name not in _PASSIVE:
            self.fail(f"has {ignored[0]} for {name}, which mlfn does not simulate")
        if name == "NodeResourcesFit" and args.get("scoringStrategy"):
            return replace(profile, strategy=self.strategy(self.mapping(args, "scoringStrategy")))
        if name == "NodeResourcesBalancedAllocation" and args.get("resources"):
            return replace(
                profile, balanced=tuple(self.name(each, "name") for each in self.mappings(args, "resources"))
            )
        if name == "NodeAffinity" and args.get("addedAffinity"):
            terms, preferred = Reader(self.path).node_affinity(self.mapping(args, "addedAffinity"))
            if preferred:
                self.fail("has an addedAffinity with preferred terms, which mlfn does not simulate")
            return replace(profile, added_terms=terms)
        if name == "InterPodAffinity" and "hardPodAffinityWeight" in args:
            return replace(profile, hard_affinity_weight=self.whole(args, "hardPodAffinityWeight", 1, 100))
        if name == "PodTopologySpread" and args.get("defaultingType") == "List":
            constraints = self.mappings(args, "defaultConstraints")
            if any(each.get("whenUnsatisfiable") != "ScheduleAnyway" for each in constraints):
                self.fail("has defaultConstraints other than ScheduleAnyway, which mlfn does not simulate")
            pairs = tuple(
                (self.name(each, "topologyKey"), self.whole(each, "maxSkew", 1, _MOST_WEIGHT)) for each in constraints
            )
            return replace(profile, default_spreads=pairs, system_spread=False)
        return profile

    def strategy(self, item: Mapping[str, Any]) -> Strategy:
        kind = item.get("type") or "LeastAllocated"
        if kind not in _STRATEGIES:
            self.fail(f"has a scoringStrategy of type {kind!r}; expected {', '.join(_STRATEGIES)}")
        resources = tuple(
            (self.name(each, "name"), self.whole(each, "weight", 1, 100) or 1)
            for each in self.mappings(item, "resources")
        )
        shape = self.mappings(self.mapping(item, "requestedToCapacityRatio"), "shape")
        reached = [self.whole(point, "utilization", 0, 100) for point in shape]
        if sorted(set(reached)) != reached:
            self.fail(f"has a shape with utilizations {reached}; expected them to rise")
        if kind == "RequestedToCapacityRatio" and not shape:
            self.fail("has a RequestedToCapacityRatio without shape")
        return Strategy(
            kind,
            resources or Strategy().resources,
            tuple(reached),
            tuple(self.whole(point, "score", 0, 10) * 10 for point in shape),
        )

    def whole(self, owner: Mapping[str, Any], name: str, default: int, most: int) -> int:
        value = owner.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            self.fail(f"has {name} = {value!r}; expected a whole number from 0 to {most}")
        return value

    def name(self, owner: Mapping[str, Any], name: str) -> str:
        value = owner.get(name)
        if not isinstance(value, str) or not value:
            self.fail(f"has {name} = {value!r:.60}; expected a name")
        return value

    def mapping(self, owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = owner.get(name) or {}
        if not isinstance(value, dict):
            self.fail(f"has {name} = {value!r:.60}; expected an object")
        return value

    def mappings(self, owner: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
        value = owner.get(name) or []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.fail(f"has {name} = {value!r:.60}; expected a list of objects")
        return value
