"""Hold a function's settings against Knative's ranges and what the cluster allows, before anything is sent. Pure.

All that is wrong is told at once, each with the option that sets it. Knative's own webhook would refuse the same, one
field at a time and in its own words; what it ignores in silence is told here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlfn.function import Finding, FunctionSpec
from mlfn.platforms.kube.findings import finding
from mlfn.platforms.kube.limits import CHECKED, ClusterLimits

__all__ = ["check"]

RESERVED = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
LONGEST_NAME = 57
"""A name of 63 characters at most is made of it: NAME-00001."""
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+")


def check(spec: FunctionSpec, limits: ClusterLimits) -> tuple[Finding, ...]:
    """Return all that is wrong or worth knowing; whoever deploys stops at an error."""
    return (
        *_names(spec),
        *_scale(spec, limits),
        *_requests(spec, limits),
        *_environment(spec),
        *_cluster(limits),
    )


def _wrong(option: str, seen: object, expected: str, why: str = "") -> Finding:
    message = f"{option} {seen}: {why or 'Knative takes ' + expected}"
    return finding("setting-refused", message, seen=str(seen), expected=expected, fix=f"give {option} {expected}")


def _names(spec: FunctionSpec) -> Iterator[Finding]:
    if not _NAME.fullmatch(spec.name) or len(spec.name) > LONGEST_NAME:
        expected = f"at most {LONGEST_NAME} lower case letters, digits and '-', beginning with a letter"
        yield _wrong("--name", spec.name, expected)
    for option, pairs in (("--label", spec.labels), ("--annotation", spec.annotations)):
        for key, value in pairs.items():
            if not _LABEL_KEY.fullmatch(key):
                yield _wrong(option, f"{key}={value}", "a key such as team or example.com/team")
            elif option == "--label" and not _LABEL_VALUE.fullmatch(value):
                yield _wrong(option, f"{key}={value}", "a value of at most 63 letters, digits, '-', '_' and '.'")


def _scale(spec: FunctionSpec, limits: ClusterLimits) -> Iterator[Finding]:
    if spec.min_scale < 0:
        yield _wrong("--min-scale", spec.min_scale, "0 or more")
    if spec.max_scale < 0:
        yield _wrong("--max-scale", spec.max_scale, "0 (no bound) or more")
    if 0 < spec.max_scale < spec.min_scale:
        expected = f"{spec.min_scale} or more (--min-scale is {spec.min_scale}), or 0"
        yield _wrong("--max-scale", spec.max_scale, expected)
    limit = limits.max_scale_limit
    for option, value in (("--min-scale", spec.min_scale), ("--max-scale", spec.max_scale)):
        if limit and value > limit:
            yield _wrong(option, value, f"at most {limit}", f"the cluster allows at most {limit} (max-scale-limit)")
    if not 6 <= spec.window_s <= 3600:
        yield _wrong("--window", f"{spec.window_s}s", "6s to 1h")
    if spec.min_scale == 0 and not limits.enable_scale_to_zero:
        message = "the cluster does not scale to zero (enable-scale-to-zero): one instance stays"
        yield finding("no-scale-to-zero", message, seen="enable-scale-to-zero: false")


def _requests(spec: FunctionSpec, limits: ClusterLimits) -> Iterator[Finding]:
    most = limits.container_concurrency_max_limit
    if not 0 <= spec.concurrency <= most:
        yield _wrong("--concurrency", spec.concurrency, f"0 (no bound) to {most}")
    if spec.concurrency == 0 and not limits.allow_container_concurrency_zero:
        why = "the cluster wants a bound (allow-container-concurrency-zero)"
        yield _wrong("--concurrency", 0, f"1 to {most}", why)
    if spec.metric not in ("concurrency", "rps"):
        yield _wrong("--metric", spec.metric, "concurrency or rps")
    if spec.target < 0.01:
        yield _wrong("--target", f"{spec.target:g}", "0.01 or more")
    if not 0.01 <= spec.utilization <= 1.0:
        yield _wrong("--utilization", f"{spec.utilization:g}", "0.01 to 1")
    longest = limits.max_revision_timeout_s
    if not 0 < spec.timeout_s <= longest:
        why = f"the cluster takes at most {longest:g} s (max-revision-timeout-seconds)" if spec.timeout_s > 0 else ""
        yield _wrong("--timeout", f"{spec.timeout_s:g}s", f"more than 0 and at most {longest:g}s", why)
    asked = FunctionSpec(spec.name)
    if spec.metric == "concurrency" and 0 < spec.concurrency < spec.target != asked.target:
        why = "the autoscaler aims at the smaller"
        message = f"--target {spec.target:g} is more than --concurrency {spec.concurrency}: {why}"
        yield finding("target-above-concurrency", message, seen=f"{spec.target:g}", expected=f"{spec.concurrency}")


def _environment(spec: FunctionSpec) -> Iterator[Finding]:
    for name in sorted(RESERVED & (spec.env.keys() | spec.secret_env.keys())):
        option = "--env" if name in spec.env else "--secret-env"
        yield _wrong(option, name, "another name", "Knative sets it itself")
    for name, place in spec.secret_env.items():
        if not _SECRET.fullmatch(place):
            yield _wrong("--secret-env", f"{name}={place}", "NAME=SECRET/KEY")


def _cluster(limits: ClusterLimits) -> Iterator[Finding]:
    if not limits.empty_dir:
        yield finding(
            "feature-disabled",
            "the cluster's Knative does not let pods have scratch space, which the server has in /tmp",
            seen="kubernetes.podspec-volumes-emptydir: disabled",
        )
    if unread := ", ".join(name for name in limits.unread if name in CHECKED):
        message = f"the cluster's own limits are not known ({unread}): Knative's defaults are assumed"
        yield finding("limits-assumed", message, seen=unread)
