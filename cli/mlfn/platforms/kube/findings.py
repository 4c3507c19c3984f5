"""What can be wrong on a cluster: every code, how much it matters, what it means, how to fix it.

The table is the single list of the cluster's codes; docs/reference/findings.md is generated from it. A finding that
knows more than its kind (which image, which rule, how much memory) says more.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlfn.function import Finding, Severity

__all__ = ["FINDINGS", "ClusterFinding", "finding"]


@dataclass(frozen=True, slots=True)
class ClusterFinding:
    """Describe one code."""

    meaning: str
    fix: str
    severity: Severity = Severity.ERROR


FINDINGS: dict[str, ClusterFinding] = {
    "admission-refused": ClusterFinding(
        "a policy of the cluster (an admission webhook, Pod Security) refuses the object",
        "change what the message names, or ask who runs the cluster for an exception",
    ),
    "already-exists": ClusterFinding(
        "an object of that name is there already",
        "choose another --name, or adopt it with --force",
    ),
    "cluster-busy": ClusterFinding(
        "the API server, or a webhook that it asks, does not answer in time or is overloaded",
        "try again; kubectl get --raw /readyz?verbose tells what ails",
    ),
    "cluster-unreachable": ClusterFinding(
        "nothing answers at the address of the API server",
        "check --context and --kubeconfig: kubectl cluster-info",
    ),
    "credentials-refused": ClusterFinding(
        "the cluster does not accept who asks: no, wrong or expired credentials",
        "log in to the cluster again; kubectl auth whoami tells who is asked for",
    ),
    "field-conflict": ClusterFinding(
        "another tool owns fields that mlfn would set, or the object changed meanwhile",
        "deploy again; with --force mlfn takes the fields over",
    ),
    "forbidden": ClusterFinding(
        "the account may not do that: a rule is missing in its roles",
        "let who runs the cluster add the rule that the message names (docs/guides/rights-on-the-cluster.md)",
    ),
    "invalid-object": ClusterFinding(
        "the cluster refuses a value",
        "change the value that the message names",
    ),
    "knative-absent": ClusterFinding(
        "the cluster does not have Knative Serving",
        "deploy with --platform kubernetes, or install it: https://knative.dev/docs/install/",
    ),
    "kind-absent": ClusterFinding(
        "the cluster does not have that kind of object",
        "install what serves it, or do without the option that needs it",
    ),
    "namespace-missing": ClusterFinding(
        "the namespace does not exist",
        "name another with -n, or make it: kubectl create namespace NAME",
    ),
    "not-found": ClusterFinding(
        "no object of that name is in the namespace",
        "mlfn list shows what there is; -n names another namespace",
    ),
    "quota-exceeded": ClusterFinding(
        "the namespace's quota does not allow it",
        "delete what is not needed, ask for less, or let who runs the cluster raise the quota",
    ),
}


def finding(what: str, message: str, *, seen: str = "", expected: str = "", fix: str = "") -> Finding:
    """Make a finding of a code of the table, with the table's severity, and its fix where none is given."""
    kind = FINDINGS[what]
    return Finding(kind.severity, what, message, seen, expected, fix or kind.fix)
