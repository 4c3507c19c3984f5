"""Say why the API server refuses a request, and what to do: a ``Status`` answer becomes one of mlfn's errors.

Pure, called by the door and by nobody else; it knows no client and no platform. The words of the API server are
quoted, cut to what a terminal shows, and whole in the details.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlfn.errors import Conflict, DeployFailed, InvalidInput, MlfnError, NotAuthorised, NotFound, Unreachable
from mlfn.function import Finding
from mlfn.platforms.kube.findings import finding

__all__ = ["Refusal", "explain", "refusal"]

LONGEST_QUOTE = 300
"""Characters of the server's own words in a message."""

OPTIONS = (
    ("min-scale", "--min-scale"),
    ("max-scale", "--max-scale"),
    ("initial-scale", "--min-scale"),
    ("containerConcurrency", "--concurrency"),
    ("utilization", "--utilization"),
    ("autoscaling.knative.dev/target", "--target"),
    ("autoscaling.knative.dev/metric", "--metric"),
    ("autoscaling.knative.dev/window", "--window"),
    ("timeoutSeconds", "--timeout"),
    ("resources", "--cpu and --memory"),
    (".image", "--registry and --name"),
    ("serviceAccountName", "--service-account"),
    ("imagePullSecrets", "--image-pull-secret"),
    (".secretKeyRef", "--secret-env"),
    (".env", "--env"),
    ("spec.traffic", "the shares: mlfn traffic NAME REVISION=PERCENT…"),
    ("metadata.name", "--name"),
    ("metadata.labels", "--label"),
    ("annotations", "--annotation"),
)
"""Part of a field's path -> the option that sets it; the first that fits."""

_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_WEBHOOK = re.compile(
    r"""(?P<kind>admission webhook|ValidatingAdmissionPolicy) ["'](?P<webhook>[^"']*)["'].*?"""
    r"""denied (?:the )?request: (?P<reason>.*)""",
    re.DOTALL,
)
_FAILED_WEBHOOK = re.compile(r'failed calling webhook "(?P<webhook>[^"]*)"')
_QUOTA = re.compile(r"exceeded quota: (?P<name>[^,]+), (?P<figures>.*)", re.DOTALL)
_FIELD = re.compile(r"((?:spec|metadata)(?:\.[\w*/-]+|\[[\w*]+\])+)")
_APPLY_CONFLICT = re.compile(r'conflicts? with "(?P<manager>[^"]*)"')
_SERVING = ("serving.knative.dev", "internal.knative.dev")
_NO_SUCH_API = "the server could not find the requested resource"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Say why a request was refused: the finding, and the error that it is to the user."""

    kind: type[MlfnError]
    finding: Finding
    hints: tuple[str, ...]
    details: str = ""

    def error(self) -> MlfnError:
        """Return the error to raise."""
        return self.kind(self.finding.message, hints=self.hints, details=self.details)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Hold what the API server said, whether a Status or plain text."""

    code: int
    reason: str
    message: str
    kind: str
    name: str
    group: str
    fields: tuple[tuple[str, str], ...]
    is_status: bool


def refusal(status_code: int, body: str, verb: str, what: str) -> MlfnError:
    """Return the error for an answer of 400 and above; ``verb`` and ``what`` say what was asked.

    ``what`` names the API (``services.serving.knative.dev/iris``): a plain 404 tells that one is absent, not which.
    """
    return explain(status_code, body, verb, what).error()


def explain(status_code: int, body: str, verb: str, what: str) -> Refusal:
    """Return what :func:`refusal` raises as a value, with its finding's code."""
    answer = _read(status_code, body)
    asked = f"{verb} {what}".strip()
    if answer.code == 401:
        return _plain(
            NotAuthorised, "credentials-refused", f"the cluster refuses to {asked}: who asks is not known", answer
        )
    if answer.code == 403:
        return _forbidden(answer, asked)
    if answer.code == 404:
        return _not_found(answer, asked, what)
    if answer.code == 409:
        return _conflict(answer, asked)
    if answer.code in (400, 413, 422):
        return _invalid(answer, asked)
    return _unwell(answer, asked)


def _read(status_code: int, body: str) -> _Answer:
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    status: Mapping[str, object] = read if isinstance(read, dict) else {}
    if status.get("kind") != "Status":
        return _Answer(status_code, "", body.strip(), "", "", "", (), is_status=False)
    details = status.get("details")
    told = details if isinstance(details, Mapping) else {}
    causes = told.get("causes")
    fields = tuple(
        (str(cause.get("field", "")), str(cause.get("message", "")))
        for cause in (causes if isinstance(causes, list) else [])
        if isinstance(cause, Mapping)
    )
    return _Answer(
        status_code,
        str(status.get("reason", "")),
        str(status.get("message", "")),
        str(told.get("kind", "")),
        str(told.get("name", "")),
        str(told.get("group", "")),
        fields,
        is_status=True,
    )


def _plain(kind: type[MlfnError], what: str, message: str, answer: _Answer, *more: str) -> Refusal:
    told = finding(what, message, seen=_short(answer.message), fix=more[0] if more else "")
    return Refusal(kind, told, more or (told.fix,), answer.message)


def _forbidden(answer: _Answer, asked: str) -> Refusal:
    if found := _FORBIDDEN.search(answer.message):
        return _missing_rule(answer, found)
    if found := _QUOTA.search(answer.message):
        message = f"the quota {found['name']!r} does not allow to {asked}: {found['figures']}"
        fix = f"kubectl describe quota {found['name']}; then delete what is not needed or ask for more"
        return _plain(DeployFailed, "quota-exceeded", message, answer, fix)
    if found := _WEBHOOK.search(answer.message):
        return _denied(answer, found, asked)
    if "violates PodSecurity" in answer.message:
        message = f"the namespace's Pod Security does not allow to {asked}: {_short(answer.message)}"
        return _plain(DeployFailed, "admission-refused", message, answer)
    return _plain(NotAuthorised, "forbidden", f"the cluster forbids to {asked}: {_short(answer.message)}", answer)


def _missing_rule(answer: _Answer, found: re.Match[str]) -> Refusal:
    user, verb, resource, group = found["user"], found["verb"], found["resource"], found["group"]
    namespace = found["namespace"]
    where = f"in namespace {namespace!r}" if namespace else "in the whole cluster"
    full = f"{resource}.{group}" if group else resource
    rule = json.dumps({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
    told = finding(
        "forbidden",
        f"{user!r} may not {verb} {full} {where}",
        seen=f"no role of {user!r} has verb {verb!r} on {full}",
        expected=f"the rule {rule} in a {'Role' if namespace else 'ClusterRole'} that is bound to {user!r}",
        fix=_grant(user, verb, full, namespace),
    )
    rights = "all that mlfn needs, as one Role: docs/guides/rights-on-the-cluster.md"
    return Refusal(NotAuthorised, told, (f"the rule that is missing: {rule}", told.fix, rights), answer.message)


def _grant(user: str, verb: str, full: str, namespace: str | None) -> str:
    """Return the command by which an administrator adds the missing rule."""
    kind, scope = ("role", f" -n {namespace}") if namespace else ("clusterrole", "")
    name = re.sub(r"[^a-z0-9-]+", "-", f"mlfn-{verb}-{full.partition('.')[0]}")
    account = user.removeprefix("system:serviceaccount:")
    subject = f"--serviceaccount={account}" if account != user else f"--user={user}"
    return (
        f"an administrator runs: kubectl create {kind} {name} "
        f"--verb={verb} --resource={_kubectl_resource(full)}{scope} "
        f"&& kubectl create {kind}binding {name} --{kind}={name} {subject}{scope}"
    )


def _kubectl_resource(full: str) -> str:
    """Write ``services/status.group`` as kubectl does: ``services.group/status``."""
    resource, dot, group = full.partition(".")
    name, slash, sub = resource.partition("/")
    return f"{name}{dot}{group}{slash}{sub}"


def _not_found(answer: _Answer, asked: str, what: str) -> Refusal:
    if not answer.is_status or answer.message == _NO_SUCH_API or not answer.name:
        return _kind_absent(answer, asked, what)
    if answer.kind == "namespaces":
        return _plain(
            NotFound,
            "namespace-missing",
            f"the namespace {answer.name!r} does not exist",
            answer,
            f"kubectl create namespace {answer.name}",
            "or name one that exists: -n NAMESPACE (kubectl get namespaces)",
        )
    full = f"{answer.kind}.{answer.group}" if answer.group else answer.kind
    return _plain(NotFound, "not-found", f"cannot {asked}: there is no {full} {answer.name!r}", answer)


def _kind_absent(answer: _Answer, asked: str, what: str) -> Refusal:
    if not any(group in what for group in _SERVING):
        part = "Knative Eventing" if "knative.dev" in what else "that kind"
        return _plain(NotFound, "kind-absent", f"cannot {asked}: the cluster does not have {part} (404)", answer)
    return _plain(
        NotFound,
        "knative-absent",
        f"cannot {asked}: the cluster does not have Knative Serving (404)",
        answer,
        "mlfn deploy … --platform kubernetes does without Knative",
        "or install Knative Serving: https://knative.dev/docs/install/",
        "or name the cluster that has it: --context, --kubeconfig",
    )


def _conflict(answer: _Answer, asked: str) -> Refusal:
    if answer.reason == "AlreadyExists":
        message = f"cannot {asked}: {answer.name or 'it'} exists already"
        return _plain(Conflict, "already-exists", message, answer)
    managers = sorted(set(_APPLY_CONFLICT.findall(answer.message)))
    if managers:
        fields = ", ".join(field for field, _ in answer.fields[:5])
        message = f"cannot {asked}: {', '.join(managers)} set {fields or 'fields that mlfn sets too'}"
        return _plain(
            Conflict,
            "field-conflict",
            message,
            answer,
            "take the fields over: mlfn deploy … --force",
            f"or let {managers[0]} give them up",
        )
    message = f"cannot {asked}: somebody else changed it meanwhile"
    return _plain(Conflict, "field-conflict", message, answer, "look at what is there (mlfn describe NAME), then again")


def _invalid(answer: _Answer, asked: str) -> Refusal:
    if found := _WEBHOOK.search(answer.message):
        return _denied(answer, found, asked)
    told = [(field, message) for field, message in answer.fields if field]
    if told:
        message = f"cannot {asked}: " + "; ".join(f"{field}: {_short(words)}" for field, words in told)
        return _field_refused(answer, message, [field for field, _ in told])
    return _field_refused(answer, f"cannot {asked}: {_short(answer.message)}", _FIELD.findall(answer.message))


def _denied(answer: _Answer, found: re.Match[str], asked: str) -> Refusal:
    """Tell a webhook's refusal: Knative's own checks values; any other is a policy of the cluster."""
    webhook, reason = found["webhook"], found["reason"]
    if not webhook.endswith(".knative.dev"):
        message = f"the {found['kind']} {webhook!r} does not allow to {asked}: {_short(reason)}"
        return _plain(DeployFailed, "admission-refused", message, answer)
    reason = re.sub(r"^(validation failed|mutation failed|validation callback failed): ", "", reason)
    return _field_refused(answer, f"cannot {asked}: Knative refuses {_short(reason)}", _FIELD.findall(reason))


def _field_refused(answer: _Answer, message: str, fields: list[str]) -> Refusal:
    options = list(dict.fromkeys(option for field in fields if (option := _option(field))))
    if not options and "quantities must match" in answer.message:
        options = ["--cpu or --memory"]
    fix = f"change {', '.join(options)}" if options else ""
    told = finding("invalid-object", message, seen=_short(answer.message), fix=fix)
    if fields:
        told = finding("invalid-object", message, seen=", ".join(dict.fromkeys(fields)), fix=fix)
    return Refusal(InvalidInput, told, (told.fix,), answer.message)


def _option(field: str) -> str:
    return next((option for part, option in OPTIONS if part in field), "")


def _unwell(answer: _Answer, asked: str) -> Refusal:
    if found := _FAILED_WEBHOOK.search(answer.message):
        message = (
            f"cannot {asked}: the cluster's webhook {found['webhook']!r} does not answer: {_short(answer.message)}"
        )
        fix = "try again; is its pod running? kubectl get pods -A | grep webhook"
        return _plain(Unreachable, "cluster-busy", message, answer, fix)
    words = _short(answer.message) or answer.reason or "no more said"
    return _plain(Unreachable, "cluster-busy", f"cannot {asked}: the API server answers {answer.code}: {words}", answer)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_QUOTE else f"{flat[: LONGEST_QUOTE - 1]}…"
