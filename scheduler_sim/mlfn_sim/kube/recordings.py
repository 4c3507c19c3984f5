"""Replay decisions recorded from a real kube-scheduler.

Two kinds of recordings. ``steps``: a list of ``{name, nodes, pods, steps}``, where each step tells a pod's feasible
count, rejections by filter, totals of all nodes, ties, and the chosen node's scores. ``scores``: ``{nodes, services,
bound, pods}`` with a companion ``X.out.jsonl.gz`` that has a line per pod: host, feasible and evaluated counts, and the
weighted score of each feasible node by plugin, or the scheduler's words. Both are replayed pod by pod, each pod placed
where the recording says, so that later rows stay comparable.

A *decision* is a pod; a *row* is one feasible node of a pod that had a choice. Where a recording has no scores by node,
its rows are equal when the pod's decision is. ``X.profile.yaml`` is the configuration; without one, the default profile
scores all nodes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlfn_sim.agreement_values import Case
from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.configuration import read_profile
from mlfn_sim.kube.decisions import Decision, unschedulable_text, words_without_taints
from mlfn_sim.kube.engine import make_engine
from mlfn_sim.kube.objects import NodeSpec, Pod
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reading import Reader
from mlfn_sim.recordings import Item, Recording

__all__ = ["SCORES", "STEPS", "ScoresKind", "StepsKind"]

_ALL_NODES = Profile(percentage=100)
_ENDED = ("Succeeded", "Failed")
"""Phases of pods that the scheduler no longer counts."""
_Difference = tuple[str, object, object]
"""What differs, as recorded, as simulated."""


class StepsKind:
    """Replay ``{name, nodes, pods, steps}``."""

    NAME = "kube-scheduler steps"

    def recognises(self, document: object) -> bool:
        """Tell whether a document looks like this kind."""
        return (
            isinstance(document, list) and bool(document) and isinstance(document[0], dict) and "steps" in document[0]
        )

    def compare(self, recording: Recording) -> Iterator[Case]:
        """Yield one case a cluster."""
        assert isinstance(recording.document, list)  # recognises() said so
        profile = _profile(recording)
        for i, value in enumerate(recording.document):
            item = Item(recording.path, f"item {i}", value)
            replay = _Replay(recording.path, item, profile, recording.engine)
            steps = item.items("steps")
            pods = item.items("pods")
            if len(steps) != len(pods):
                item.fail(f"has {len(pods)} pods and {len(steps)} steps; expected one step a pod")
            for j, (pod, step) in enumerate(zip(pods, steps, strict=True)):
                replay.step(pod, Item(recording.path, f"item {i}, step {j}", step))
            yield replay.case(item.value("name") if "name" in value else i)


class ScoresKind:
    """Replay ``{nodes, services, bound, pods}`` against the companion's lines."""

    NAME = "kube-scheduler scores"

    def recognises(self, document: object) -> bool:
        """Tell whether a document looks like this kind."""
        return isinstance(document, dict) and "nodes" in document and "pods" in document

    def compare(self, recording: Recording) -> Iterator[Case]:
        """Yield one case."""
        item = Item(recording.path, "the recording", recording.document)
        replay = _Replay(recording.path, item, _profile(recording), recording.engine)
        companion = _beside(recording.path, ".out.jsonl.gz")
        pods, lines = item.items("pods"), _lines(companion)
        if len(pods) != len(lines):
            raise RecordingError(f"{companion}: has {len(lines)} lines for {len(pods)} pods; expected one a pod")
        for j, (pod, line) in enumerate(zip(pods, lines, strict=True), 1):
            replay.line(pod, Item(companion, f"line {j}", line))
        yield replay.case(recording.path.name)


STEPS, SCORES = StepsKind(), ScoresKind()


class _Replay:
    """Replay one cluster and count."""

    def __init__(self, path: Path, item: Item, profile: Profile, engine: str) -> None:
        reader = Reader(path)
        services = reader.services(_listed(item, "services"))
        known = reader.namespaces(_listed(item, "namespaces")) if "namespaces" in item.document else None
        self._reader = Reader(path, services, namespaces=known, as_seen=True)
        nodes = tuple(map(reader.node, item.items("nodes")))
        self._names = [node.name for node in nodes]
        self._index = _index(path, nodes)
        self._engine = make_engine(engine, Catalog.of(nodes, profile), profile)
        self._counts = [0, 0, 0, 0]
        self._first: dict[str, object] | None = None
        for i, each in enumerate(_listed(item, "bound")):
            pod, spec = self._reader.pod(each), Item(path, f"bound pod {i}", each["spec"])
            status = each.get("status")
            if not isinstance(status, dict) or status.get("phase") not in _ENDED:
                shape = replace(pod.shape, node_name="")
                self._engine.place(shape, self._node(item, spec.text("nodeName")))

    def step(self, item: Any, step: Item) -> None:
        """Compare one step of the ``steps`` kind."""
        pod = self._reader.pod(item)
        decision = self._engine.decide(pod.shape)
        chosen = step.text("chosen") if step.value("chosen") is not None else ""
        differences = list(self._step_differences(decision, step, chosen))
        totals = _object(step, "totals")
        mine = {self._names[node]: total for node, total in zip(decision.feasible, decision.totals, strict=False)}
        equal = sum(mine.get(name) == total for name, total in totals.items())
        if totals and equal < len(totals) and not differences:
            differences.append(("totals", totals, mine))
        self._tell(pod, differences, len(totals), equal)
        if chosen:
            self._engine.place(replace(pod.shape, node_name=""), self._node(step, chosen))

    def _step_differences(self, decision: Decision, step: Item, chosen: str) -> Iterator[_Difference]:
        feasible = step.integer("feasible", least=0)
        if feasible != len(decision.feasible):
            yield "feasible", feasible, len(decision.feasible)
        rejected = _object(step, "rejected_by")
        if rejected != decision.rejected_by():
            yield "rejected_by", rejected, decision.rejected_by()
        if bool(chosen) != (decision.chosen >= 0):
            yield "chosen", chosen, self._names[decision.chosen] if decision.chosen >= 0 else ""
            return
        if not chosen or not step.document.get("ties"):
            return
        recorded = sorted(map(str, step.items("ties")))
        ties = sorted(self._names[node] for node in decision.ties)
        if ties != recorded or chosen not in ties:
            yield "ties", recorded, ties
            return
        place = decision.feasible.index(self._index[chosen])
        mine = {name: scores[place] for name, scores in decision.scores.items()}
        wanted = {
            name: score[0] if isinstance(score, list) and score else score
            for name, score in _object(step, "chosen_plugin_scores").items()
        }
        if {name: score for name, score in mine.items() if name in wanted} != wanted:
            yield "chosen_plugin_scores", wanted, mine

    def line(self, item: Any, line: Item) -> None:
        """Compare one line of the ``scores`` kind."""
        pod = self._reader.pod(item)
        if line.text("pod") != pod.name:
            line.fail(f"is about the pod {line.text('pod')!r}; expected {pod.name!r}, as in the recording")
        decision = self._engine.decide(pod.shape)
        host = line.text("host")
        if not host:
            text, said = unschedulable_text(decision, len(self._names)), line.text("err")
            later = replace(decision, reasons=words_without_taints(decision.reasons))
            agrees = said.startswith((text, unschedulable_text(later, len(self._names))))
            self._tell(pod, [] if agrees and decision.chosen < 0 else [("err", said, text)], 0, 0)
            return
        differences: list[_Difference] = [
            (name, recorded, mine)
            for name, mine in (("feasible", len(decision.feasible)), ("evaluated", decision.evaluated))
            if (recorded := line.integer(name, least=0)) != mine
        ]
        node = self._node(line, host)
        if node not in decision.ties:
            differences.append(("host", host, [self._names[each] for each in decision.ties]))
        rows, equal = self._rows(decision, line, differences)
        self._tell(pod, differences, rows, equal)
        self._engine.place(replace(pod.shape, node_name=""), node)

    def _rows(self, decision: Decision, line: Item, differences: list[_Difference]) -> tuple[int, int]:
        recorded = line.document
        if "nodes" not in recorded:
            feasible = line.integer("feasible", least=0)
            rows = feasible if feasible > 1 else 0  # a single one is taken without scoring
            return rows, 0 if differences else rows
        plugins = [str(each) for each in line.items("plugins")][:-1]
        if sorted(decision.scores) != sorted(plugins):
            differences.append(("plugins", plugins, sorted(decision.scores)))
        place = {node: i for i, node in enumerate(decision.feasible)}
        names, scores = line.items("nodes"), line.items("scores")
        if len(names) != len(scores):
            line.fail(f"has {len(names)} nodes and {len(scores)} rows of scores; expected one row a node")
        if len(set(map(str, names))) != len(decision.feasible) and not differences:
            differences.append(("nodes", names, [self._names[node] for node in decision.feasible]))
        equal = 0
        for name, wanted in zip(names, scores, strict=True):
            i = place.get(self._node(line, str(name)), -1)
            mine = self._row(decision, plugins, i) if i >= 0 else []
            if mine == wanted:
                equal += 1
            elif not differences:
                differences.append((f"scores of {name}", wanted, mine))
        return len(names), equal

    def _row(self, decision: Decision, plugins: Sequence[str], i: int) -> list[int]:
        return [*(decision.scores[name][i] if name in decision.scores else -1 for name in plugins), decision.totals[i]]

    def _tell(self, pod: Pod, differences: Sequence[_Difference], rows: int, equal: int) -> None:
        self._counts[0] += 1
        self._counts[1] += not differences
        self._counts[2] += rows
        self._counts[3] += equal
        if differences and self._first is None:
            what, recorded, mine = differences[0]
            self._first = {"pod": pod.name, "what": what, "recorded": recorded, "simulated": mine}

    def case(self, name: object) -> Case:
        """Return what was counted."""
        first = None if self._first is None else {"case": name, **self._first}
        decisions, equal, rows, equal_rows = self._counts
        return Case(decisions, equal, rows, equal_rows, first)

    def _node(self, item: Item, name: str) -> int:
        if name not in self._index:
            item.fail(f"names the node {name!r}, which is not among the nodes")
        return self._index[name]


def _listed(item: Item, name: str) -> list[Any]:
    """Return a list of objects that may be missing."""
    value = item.document.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        item.fail(f"has {name} that is no list of objects")
    return value


def _object(item: Item, name: str) -> dict[str, Any]:
    """Return an object that may be missing."""
    value = item.document.get(name)
    if value is not None and not isinstance(value, dict):
        item.fail(f"has {name} that is no object")
    return value or {}


def _index(path: Path, nodes: Sequence[NodeSpec]) -> dict[str, int]:
    found: dict[str, int] = {}
    for i, node in enumerate(nodes):
        if node.name in found:
            raise RecordingError(f"{path}: Node {node.name!r} is there twice")
        found[node.name] = i
    return found


def _profile(recording: Recording) -> Profile:
    if recording.profile is not None:
        return read_profile(recording.profile)
    beside = _beside(recording.path, ".profile.yaml")
    return read_profile(beside) if beside.exists() else _ALL_NODES


def _beside(path: Path, suffix: str) -> Path:
    """Return the companion of ``X.json.gz``, ``X.json`` or ``X``."""
    stem = path.name.removesuffix(".gz").removesuffix(".json")
    return path.with_name(stem + suffix)


def _lines(path: Path) -> list[object]:
    plain = path.with_name(path.name.removesuffix(".gz"))
    chosen = path if path.exists() or not plain.exists() else plain
    try:
        data = chosen.read_bytes()
        text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise RecordingError(f"{chosen}: is missing; a recording of scores has its answers there") from error
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(f"{chosen}: cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{chosen}: is not JSON lines: {error}") from error
