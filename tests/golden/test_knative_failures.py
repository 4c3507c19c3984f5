"""The diagnosis names the cause of every recorded failure, at each moment and at a late look, and when it is sure."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import Conflict, InvalidInput, MlfnError, NotAuthorised, NotFound
from mlfn.platforms.kube.diagnosis import Diagnosis, diagnose
from mlfn.platforms.kube.diagnosis.scene import began_at, happened_at, seconds
from mlfn.platforms.kube.findings import FINDINGS
from mlfn.platforms.kube.refusals import explain

RECORDED = Path(__file__).parents[1] / "data" / "knative_failures"
DEADLINE_S = 60.0
"""The progress deadline of every recorded service."""
Thing = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """What the diagnosis is to say of a case."""

    what: str
    quotes: tuple[str, ...]
    """Parts of the message: the evidence."""
    fix: str
    """A part of the fix."""
    conclusive_s: float
    """When it is sure, seconds after the request; at the latest."""
    late: str = ""
    """What events alone tell, where that is less."""
    serving: str = ""


_SOON, _PATIENT, _NEVER = 8.0, 25.0, float("inf")

EXPECTED = {
    "command_not_found": Expected("command-not-found", ("/nosuch", "no such file"), "mlfn build", _SOON),
    "crash_loop": Expected("crash-loop", ("exit code 3", "model file is broken"), "mlfn serve MODEL", _SOON),
    "image_digest_not_found": Expected("image-not-found", ("hello@sha256:0000",), "mlfn build", _SOON),
    "image_tag_not_found": Expected("image-not-found", ("iris:nosuch", "404 Not Found"), "mlfn build", _SOON),
    "insufficient_cpu": Expected("unschedulable", ("cpu 64", "Insufficient cpu"), "--cpu", _PATIENT),
    "insufficient_memory": Expected("unschedulable", ("memory 512Gi",), "--memory", _PATIENT),
    "missing_secret": Expected("config-missing", ("secret 'nosuch'",), "kubectl create secret generic nosuch", _SOON),
    "never_listens": Expected("never-listens", ("port 8080",), "$PORT", DEADLINE_S + 5, late="never-ready"),
    "no_gpu": Expected("no-gpu", ("nvidia.com/gpu 1 wanted",), "node", _PATIENT),
    "no_matching_platform": Expected("no-matching-platform", ("no match for platform",), "--arch", _SOON),
    "oom_at_start": Expected("out-of-memory", ("64Mi", "137"), "--memory (it has 64Mi)", _SOON, late="crash-loop"),
    "oom_under_load": Expected("out-of-memory-under-load", ("64Mi",), "--concurrency", _NEVER, late="crash-loop"),
    "quota_needs_limits": Expected("quota-needs-limits", ("'team'", "limits.memory"), "--memory", _SOON),
    "quota_pods": Expected("quota-exceeded", ("1 wanted, 0 in use, 0 allowed",), "describe quota team", _SOON),
    "readiness_never": Expected("never-ready", ("GET /ready",), "--wait-timeout", DEADLINE_S + 5),
    "readiness_wrong_port": Expected("wrong-port", ("9999", "8080"), "PORT", _PATIENT, late="never-ready"),
    "registry_refused": Expected("registry-unreachable", ("down.example:5999", "refused"), "curl", _PATIENT),
    "registry_unauthorized": Expected("image-unauthorised", ("401",), "--docker-server=private.example:5001", _SOON),
    "registry_unknown_host": Expected("registry-unknown-host", ("registry.invalid", "no such host"), "-r", _SOON),
    "runs_as_root": Expected("runs-as-root", ("runAsNonRoot",), "65532", _SOON),
    "service_account_missing": Expected(
        "service-account-missing", ("'nosuch'",), "kubectl create serviceaccount nosuch", _SOON
    ),
    "traffic_to_missing_revision": Expected(
        "traffic-to-missing-revision", ("iris-00009",), "mlfn traffic iris", _SOON, late="-"
    ),
    "update_crash_loop": Expected("crash-loop", ("exit code 3",), "mlfn serve MODEL", _SOON, serving="iris-00001"),
    "update_image_not_found": Expected("image-not-found", ("404",), "mlfn build", _SOON, serving="iris-00001"),
    "wrong_architecture": Expected("wrong-architecture", ("exec format error",), "--arch", _SOON, late="crash-loop"),
}


def _read(name: str) -> Any:
    return json.loads(gzip.decompress((RECORDED / f"{name}.json.gz").read_bytes()))


def _snapshot(case: Thing, after_s: int) -> list[Thing]:
    items: list[Thing] = next(each["items"] for each in case["snapshots"] if each["after_s"] == after_s)
    return items


def test_every_recorded_case_is_expected() -> None:
    recorded = {path.name.removesuffix(".json.gz") for path in RECORDED.glob("*.json.gz")}
    assert recorded == EXPECTED.keys() | {"api_refusals"}
    assert {each.what for each in EXPECTED.values()} <= FINDINGS.keys()


@pytest.mark.parametrize("after_s", [15, 110])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_snapshot_tells_the_cause_with_its_evidence_and_its_fix(name: str, after_s: int) -> None:
    expected = EXPECTED[name]
    found = diagnose(_snapshot(_read(name), after_s))
    assert found.findings[0].what == expected.what
    assert [part for part in expected.quotes if part not in found.findings[0].message] == []
    assert expected.fix in found.findings[0].fix
    assert found.serving == expected.serving
    assert len(found.findings) == 1


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_after_the_deadline_waiting_is_of_no_use(name: str) -> None:
    """But for a revision that is up again: memory that ran out under load."""
    assert diagnose(_snapshot(_read(name), 110)).conclusive is (name != "oom_under_load")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_late_look_finds_the_cause_in_events(name: str) -> None:
    """The pods are gone; so is, in the end, the reason in the Revision."""
    expected = EXPECTED[name]
    items = [each for each in _snapshot(_read(name), 110) if each["kind"] == "Event"]
    found = diagnose(items)
    wanted = {"-": []}.get(expected.late, [expected.late or expected.what])
    assert [each.what for each in found.findings][:1] == wanted


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_without_pods_the_conditions_and_events_tell_the_cause(name: str) -> None:
    expected = EXPECTED[name]
    found = diagnose([each for each in _snapshot(_read(name), 110) if each["kind"] != "Pod"])
    # The Revision is ready again, and only the pod knew.
    assert [each.what for each in found.findings] == ([] if name == "oom_under_load" else [expected.what])


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_along_the_timeline_it_is_sure_when_waiting_is_of_no_use(name: str) -> None:
    """Before that it is silent, or names the same cause as a suspicion; it never names another."""
    expected = EXPECTED[name]
    sure = [after_s for after_s, found in _diagnoses(_read(name)) if found.conclusive]
    told = [found.findings[0].what for _, found in _diagnoses(_read(name)) if found.conclusive]
    if expected.conclusive_s == _NEVER:
        assert sure == []
    else:
        assert sure[0] <= expected.conclusive_s
        assert told[0] == expected.what


@pytest.mark.parametrize("name", ["insufficient_cpu", "insufficient_memory", "no_gpu"])
def test_an_autoscaler_gets_its_time(name: str) -> None:
    at_first = [(after_s, found) for after_s, found in _diagnoses(_read(name)) if after_s < 15 and found.findings]
    assert at_first
    assert not any(found.conclusive for _, found in at_first)


@pytest.mark.parametrize(("reason", "conclusive"), [("TriggeredScaleUp", False), ("NotTriggerScaleUp", True)])
def test_an_autoscaler_has_the_last_word(reason: str, conclusive: bool) -> None:
    items = _snapshot(_read("insufficient_cpu"), 15)
    pod = next(each for each in items if each["kind"] == "Pod")["metadata"]["name"]
    stamp = "2026-11-23T12:00:00Z"
    event = {"kind": "Event", "involvedObject": {"kind": "Pod", "name": pod}, "reason": reason, "lastTimestamp": stamp}
    assert diagnose([*items, event]).conclusive is conclusive


def test_nodes_tell_by_how_much() -> None:
    node = {"kind": "Node", "metadata": {"name": "node-1"}, "status": {"allocatable": {"cpu": "4", "memory": "16Gi"}}}
    cpu = diagnose([*_snapshot(_read("insufficient_cpu"), 15), node]).findings[0].message
    assert "the largest node has 4: 60.025 too few" in cpu
    memory = diagnose([*_snapshot(_read("insufficient_memory"), 15), node]).findings[0].message
    assert "the largest node has 16Gi: 496Gi too few" in memory
    gpu = diagnose([*_snapshot(_read("no_gpu"), 15), node]).findings[0].message
    assert "no node has any" in gpu


def test_the_servers_own_words_are_quoted_from_its_log() -> None:
    items = _snapshot(_read("readiness_never"), 15)
    pod = next(each for each in items if each["kind"] == "Pod")["metadata"]["name"]
    log = "loading\n" * 100 + "cannot open /model/weights: no such file"
    message = diagnose(items, logs={pod: log}).findings[0].message
    assert "cannot open /model/weights" in message
    assert message.count("loading") <= 5


def test_a_log_that_names_another_port_tells_the_wrong_one() -> None:
    items = _snapshot(_read("never_listens"), 15)
    pod = next(each for each in items if each["kind"] == "Pod")["metadata"]["name"]
    found = diagnose(items, logs={pod: "INFO: listening on 0.0.0.0:9000\n"})
    assert found.findings[0].what == "wrong-port"
    assert "9000" in found.findings[0].message


@pytest.mark.parametrize("name", ["update_crash_loop", "update_image_not_found", "traffic_to_missing_revision"])
def test_a_healthy_revision_gives_nothing(name: str) -> None:
    """The first revision of an update is well, whatever the second does; so is that of a wrong split."""
    items = [each for each in _snapshot(_read(name), 15) if each["kind"] != "Route"]
    service = next(each for each in items if each["kind"] == "Service")
    items = [each for each in items if each is not service]
    assert diagnose(items, revision="iris-00001") == Diagnosis(revision="iris-00001")


def test_nothing_gives_nothing() -> None:
    assert diagnose([]) == Diagnosis()


def test_events_of_a_function_of_the_same_name_that_was_deleted_are_not_taken_for_its_own() -> None:
    items = _snapshot(_read("quota_pods"), 15)
    old = [each for each in items if each["kind"] == "Event"]
    revision = next(each for each in items if each["kind"] == "Revision")
    revision["metadata"]["creationTimestamp"] = "2026-11-23T12:00:00Z"
    revision["status"] = {}
    assert diagnose([revision, *old]) == Diagnosis(revision="iris-00001")


def _diagnoses(case: Thing) -> Iterator[tuple[float, Diagnosis]]:
    for after_s, objects, now in _frames(case):
        yield after_s, diagnose(objects, now=now)


def _frames(case: Thing) -> Iterator[tuple[float, list[Thing], float]]:
    """Yield what was to be seen at each row of the timeline, and every second between them."""
    known = {(each["kind"], each["metadata"]["name"]): each for each in _snapshot(case, 110) + _snapshot(case, 15)}
    last = max(
        (each for each in known.values() if each["kind"] == "Revision"), key=lambda each: each["metadata"]["name"]
    )
    began = seconds(last["metadata"]["creationTimestamp"])
    events = [each for after_s in (110, 15) for each in _snapshot(case, after_s) if each["kind"] == "Event"]
    stopped = _stopped(_snapshot(case, 110))
    shown: dict[str, Thing] = {}
    rows = list(case["timeline"])
    well: set[str] = set()
    for tenth in range(0, 1100, 5):
        after_s = tenth / 10
        now = began + after_s
        while rows and rows[0]["after_s"] <= after_s:
            row = rows.pop(0)
            kind, name = row["object"].split("/")
            shown[row["object"]] = _shown(row, known.get((kind, name), {}), shown.get(row["object"], {}), now)
        for name, stopped_at in stopped.items():
            if now >= stopped_at and f"Pod/{name}" in shown:
                shown[f"Pod/{name}"]["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
        _link(shown, well)
        yield after_s, [*shown.values(), *_so_far(events, now)], now


def _stopped(items: Sequence[Thing]) -> dict[str, float]:
    """Return when pods were told to end: deletionTimestamp is when they must have."""
    told = [each["metadata"] for each in items if each["kind"] == "Pod" and "deletionTimestamp" in each["metadata"]]
    return {each["name"]: seconds(each["deletionTimestamp"]) - each["deletionGracePeriodSeconds"] for each in told}


def _shown(row: Thing, template: Thing, before: Thing, now: float) -> Thing:
    kind, name = row["object"].split("/")
    metadata = dict(template.get("metadata") or {"name": name, "labels": {"serving.knative.dev/revision": name[:10]}})
    metadata.pop("deletionTimestamp", None)
    status: Thing = {}
    if kind == "Pod" and any("container" in each for each in row["conditions"]):
        old = {each["name"]: each for each in before.get("status", {}).get("containerStatuses", ())}
        status["containerStatuses"] = [_container(each, old.get(each["container"], {})) for each in row["conditions"]]
        status["phase"] = "Running"
    else:
        past = {each["type"]: each for each in before.get("status", {}).get("conditions", ())}
        status["conditions"] = [_condition(each, past.get(each["type"], {}), now) for each in row["conditions"]]
    api_version = template.get("apiVersion", "v1" if kind == "Pod" else "serving.knative.dev/v1")
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": metadata,
        "spec": template.get("spec", {}),
        "status": status,
    }


def _container(row: Thing, before: Thing) -> Thing:
    ended = before.get("state", {}).get("terminated")
    failed = before.get("state", {}).get("waiting", {})
    if failed.get("reason") == "RunContainerError":
        ended = {"exitCode": 128, "message": failed["message"]}
    last = {"terminated": ended} if ended and row["restarts"] > before["restartCount"] else before.get("lastState", {})
    if ended and "waiting" in row["state"]:
        last = {"terminated": ended}
    return {
        "name": row["container"],
        "ready": row["ready"],
        "restartCount": row["restarts"],
        "state": row["state"],
        "lastState": last,
    }


def _condition(row: Thing, before: Thing, now: float) -> Thing:
    stamp = datetime.fromtimestamp(now, UTC).isoformat()
    if before.get("status") == row["status"]:
        stamp = before["lastTransitionTime"]
    return {**row, "lastTransitionTime": stamp}


def _link(shown: Mapping[str, Thing], well: set[str]) -> None:
    """Name the latest revisions in the Service and the Configuration, which the rows of the timeline leave out."""
    revisions = sorted(key.partition("/")[2] for key in shown if key.startswith("Revision/"))
    for name in revisions:
        if any(told["type"] == "Ready" and told["status"] == "True" for told in _conditions(shown[f"Revision/{name}"])):
            well.add(name)
    for key, each in shown.items():
        if key.startswith(("Service/", "Configuration/")) and revisions:
            each["status"]["latestCreatedRevisionName"] = revisions[-1]
            each["status"] |= {"latestReadyRevisionName": max(well)} if well else {}


def _conditions(thing: Thing) -> list[Thing]:
    conditions: list[Thing] = thing["status"]["conditions"]
    return conditions


def _so_far(events: Sequence[Thing], now: float) -> list[Thing]:
    """Return the events that there were, those that are counted still with what they had counted by then."""
    seen: dict[str, Thing] = {}
    for each in sorted(events, key=happened_at):
        name = each["metadata"]["name"]
        if happened_at(each) <= now:
            seen[name] = each
        elif began_at(each) <= now and name not in seen:
            stamp = datetime.fromtimestamp(began_at(each), UTC).isoformat()
            seen[name] = {**each, "lastTimestamp": stamp, "eventTime": None, "series": None, "count": 1}
    return list(seen.values())


REFUSED: dict[str, tuple[type[MlfnError], str, tuple[str, ...], str]] = {
    "forbidden_create": (
        NotAuthorised,
        "forbidden",
        ("'guest'", "create", "services.serving.knative.dev"),
        "--user=guest",
    ),
    "forbidden_list": (NotAuthorised, "forbidden", ("list", "namespace 'default'"), "--verb=list"),
    "namespace_missing": (NotFound, "namespace-missing", ("'nosuch'",), "kubectl create namespace nosuch"),
    "name_invalid": (InvalidInput, "invalid-object", ("metadata.name", "Iris_1"), "--name"),
    "name_too_long": (InvalidInput, "invalid-object", ("no more than 63",), "--name"),
    "image_missing": (InvalidInput, "invalid-object", ("containers[0].image",), "--registry"),
    "image_unparsable": (InvalidInput, "invalid-object", ("registry.example:5000/Iris:1",), "--registry"),
    "min_scale_above_max": (InvalidInput, "invalid-object", ("max-scale=2 is less",), "--max-scale, --min-scale"),
    "min_scale_not_a_number": (InvalidInput, "invalid-object", ("many",), "--min-scale"),
    "concurrency_negative": (InvalidInput, "invalid-object", ("0 <= -1 <= 1000",), "--concurrency"),
    "timeout_too_long": (InvalidInput, "invalid-object", ("100000 <= 600",), "--timeout"),
    "two_ports": (InvalidInput, "invalid-object", ("more than one container port",), "message"),
    "reserved_port": (InvalidInput, "invalid-object", ("8012",), "message"),
    "traffic_not_100": (InvalidInput, "invalid-object", ("sum to 90",), "mlfn traffic"),
    "host_network": (InvalidInput, "invalid-object", ("hostNetwork",), "message"),
    "cpu_unparsable": (InvalidInput, "invalid-object", ("quantities",), "--cpu or --memory"),
    "limit_below_request": (InvalidInput, "invalid-object", ("cpu limit of 1",), "--cpu"),
    "not_found": (NotFound, "not-found", ("'nosuch'",), "mlfn list"),
    "knative_not_installed": (NotFound, "knative-absent", ("Knative Serving",), "--platform kubernetes"),
}


def _recorded_refusals() -> list[Thing]:
    refusals: list[Thing] = _read("api_refusals")
    return refusals


def test_every_recorded_refusal_is_expected() -> None:
    assert {each["case"] for each in _recorded_refusals()} == REFUSED.keys()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refusal_names_what_is_wrong_and_the_way_out(name: str) -> None:
    case = next(each for each in _recorded_refusals() if each["case"] == name)
    answer = case["answer"] if isinstance(case["answer"], str) else json.dumps(case["answer"])
    kind, what, quotes, hint = REFUSED[name]
    told = explain(case["http_status"], answer, "create", "services.serving.knative.dev/iris")
    error = told.error()
    assert type(error) is kind
    assert told.finding.what == what
    assert [part for part in quotes if part not in error.message] == []
    assert any(hint in each for each in error.hints)
    assert not isinstance(error, Conflict)
