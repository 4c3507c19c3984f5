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
    "behind-a-service": ClusterFinding(
        "without Knative a function has a Service of the cluster and no address outside of it",
        "put an Ingress before the Service of that name; mlfn invoke finds its own way in",
        Severity.INFO,
    ),
    "one-instance-kept": ClusterFinding(
        "without Knative nothing wakes a function that has no instance, so at least one is kept",
        "say --min-scale 1, or deploy with --platform knative",
        Severity.WARNING,
    ),
    "reachable-from-outside": ClusterFinding(
        "the function has a public address: whoever reaches the cluster's ingress can call it, without a password",
        "--visibility cluster keeps it inside the cluster",
        Severity.INFO,
    ),
    "cluster-only": ClusterFinding(
        "the function is reached from within the cluster only, and by mlfn invoke",
        "--visibility public opens it to whoever reaches the cluster's ingress",
        Severity.INFO,
    ),
    "warm-pings-refused": ClusterFinding(
        "the function serves, but what was to keep it warm by pings could not be made",
        "let who runs the cluster grant the rule that the message names, or keep it warm with --min-scale 1",
        Severity.WARNING,
    ),
    "admission-refused": ClusterFinding(
        "a policy of the cluster (an admission webhook, Pod Security) refuses the object",
        "change what the message names, or ask who runs the cluster for an exception",
    ),
    "already-exists": ClusterFinding(
        "an object of that name is there already",
        "choose another --name, or adopt it with --force",
    ),
    "certificate-not-ready": ClusterFinding(
        "the certificate of the function's address is not there yet",
        "is cert-manager well? kubectl describe certificate; or turn external-domain-tls off",
    ),
    "cluster-busy": ClusterFinding(
        "the API server, or a webhook that it asks, does not answer in time or is overloaded",
        "try again; kubectl get --raw /readyz?verbose tells what ails",
    ),
    "command-not-found": ClusterFinding(
        "the image has no such program, or it may not be run",
        "build the image anew: mlfn build MODEL; with --base, the base must have the Python that mlfn build asks for",
    ),
    "config-missing": ClusterFinding(
        "a secret, a ConfigMap or a key of it that the function needs does not exist",
        "create it in the function's namespace, or name another with --secret-env NAME=SECRET/KEY",
    ),
    "container-not-started": ClusterFinding(
        "the node cannot make or start the container",
        "what the message says of the node is for who runs the cluster",
    ),
    "crash-loop": ClusterFinding(
        "the server of an instance ends again and again",
        "change what its last words name, and deploy again; mlfn serve MODEL shows the start on this machine",
    ),
    "credentials-refused": ClusterFinding(
        "the cluster does not accept who asks: no, wrong or expired credentials",
        "log in to the cluster again; kubectl auth whoami tells who is asked for",
    ),
    "evicted": ClusterFinding(
        "a node that ran short of memory or disk put an instance out",
        "deploy with --memory, so that it gets a node that has it",
    ),
    "feature-disabled": ClusterFinding(
        "the cluster's Knative does not allow something that mlfn's pods have",
        "let who runs the cluster enable the flag that the message names, in the ConfigMap "
        "knative-serving/config-features, or deploy with --platform kubernetes",
    ),
    "field-conflict": ClusterFinding(
        "another tool owns fields that mlfn would set, or the object changed meanwhile",
        "deploy again; with --force mlfn takes the fields over",
    ),
    "forbidden": ClusterFinding(
        "the account may not do that: a rule is missing in its roles",
        "let who runs the cluster add the rule that the message names (docs/guides/rights-on-the-cluster.md)",
    ),
    "image-not-found": ClusterFinding(
        "the registry does not have the image",
        "push it anew: mlfn build MODEL -r REGISTRY, and check that the cluster reads from the same registry",
    ),
    "image-not-pulled": ClusterFinding(
        "the node cannot pull the image, for a reason that is not one of the others",
        "what the message says; then deploy again",
    ),
    "image-unauthorised": ClusterFinding(
        "the registry does not let the cluster read the image",
        "deploy with --image-pull-secret NAME (kubectl create secret docker-registry NAME …)",
    ),
    "ingress-not-ready": ClusterFinding(
        "the function is ready, but the cluster's ingress does not lead to it",
        "is the ingress of Knative (Kourier, Istio, Contour) running? kubectl get pods -A; "
        "the ConfigMap knative-serving/config-network names it",
    ),
    "invalid-object": ClusterFinding(
        "the cluster refuses a value",
        "change the value that the message names",
    ),
    "kind-absent": ClusterFinding(
        "the cluster does not have that kind of object",
        "install what serves it, or do without the option that needs it",
    ),
    "knative-absent": ClusterFinding(
        "the cluster does not have Knative Serving",
        "deploy with --platform kubernetes, or install it: https://knative.dev/docs/install/",
    ),
    "limit-range": ClusterFinding(
        "the namespace's LimitRange does not allow what the function asks for",
        "deploy with --cpu and --memory inside it: kubectl describe limitrange",
    ),
    "limits-assumed": ClusterFinding(
        "the cluster's limits may not be read, so Knative's defaults are assumed",
        "let who runs the cluster add the ClusterRole of docs/guides/rights-on-the-cluster.md, or go on without",
        Severity.INFO,
    ),
    "namespace-missing": ClusterFinding(
        "the namespace does not exist",
        "name another with -n, or make it: kubectl create namespace NAME",
    ),
    "never-listens": ClusterFinding(
        "the server runs, but nothing listens at its port",
        "mlfn logs NAME shows what it does; the server must listen on $PORT, on all addresses",
    ),
    "never-ready": ClusterFinding(
        "the server runs and says that it is not ready, or does not answer",
        "mlfn logs NAME shows why; a model that loads for long needs more --wait-timeout or --cpu",
    ),
    "no-gpu": ClusterFinding(
        "no node has the accelerator that the function asks for",
        "add a node with it (and its device plugin), or do without",
    ),
    "no-matching-platform": ClusterFinding(
        "the image is not for the architecture of the cluster's nodes",
        "build for it: --arch amd64,arm64 (kubectl get nodes -L kubernetes.io/arch tells which)",
    ),
    "no-scale-to-zero": ClusterFinding(
        "the cluster keeps an instance of every function",
        "nothing to do; the operator decides it in the ConfigMap knative-serving/config-autoscaler",
        Severity.INFO,
    ),
    "node-trouble": ClusterFinding(
        "a node is unwell: its disk is full, or it cannot make the pod's network or volumes",
        "kubectl describe pod tells more, for who runs the cluster",
    ),
    "not-found": ClusterFinding(
        "no object of that name is in the namespace",
        "mlfn list shows what there is; -n names another namespace",
    ),
    "not-ready-in-time": ClusterFinding(
        "the platform's deadline for a revision passed",
        "mlfn logs NAME and kubectl get events tell more; deploy again to see it happen",
    ),
    "out-of-memory": ClusterFinding(
        "the model does not fit the memory limit",
        "deploy with more --memory",
    ),
    "out-of-memory-under-load": ClusterFinding(
        "an instance needed more memory than its limit while it served",
        "deploy with more --memory, or with fewer requests at once: --concurrency",
    ),
    "pod-not-made": ClusterFinding(
        "the cluster does not make the pod, for a reason that is not one of the others",
        "what the message says; kubectl get events tells more",
    ),
    "quota-exceeded": ClusterFinding(
        "the namespace's quota does not allow it",
        "delete what is not needed, ask for less, or let who runs the cluster raise the quota",
    ),
    "quota-needs-limits": ClusterFinding(
        "the namespace's quota wants limits that the pod does not have",
        "deploy with --memory and --cpu; a LimitRange with defaults does it for every pod of the namespace",
    ),
    "registry-plain-http": ClusterFinding(
        "the registry speaks plain HTTP, which the cluster's nodes do not",
        "give the registry a certificate, or let who runs the nodes name it as insecure in their container runtime",
    ),
    "registry-rate-limit": ClusterFinding(
        "the registry has had too many requests",
        "wait, log in (--image-pull-secret NAME), or use a registry of your own: -r",
    ),
    "registry-unknown-host": ClusterFinding(
        "the cluster does not know the registry's name",
        "name the registry as the cluster's nodes know it: -r",
    ),
    "registry-unreachable": ClusterFinding(
        "the cluster cannot reach the registry",
        "is it up, and reachable from the nodes? Then deploy again",
    ),
    "registry-untrusted": ClusterFinding(
        "the cluster does not trust the registry's certificate",
        "let who runs the nodes add the registry's authority to their container runtime (and to Knative's controller)",
    ),
    "revision-failed": ClusterFinding(
        "the platform says that the revision failed, for a reason that is not one of the others",
        "what the message says; kubectl describe revision tells more",
    ),
    "runs-as-root": ClusterFinding(
        "the image runs as root, which the pod may not",
        "build it with mlfn build, whose user is 65532; of a --base only the files are used",
    ),
    "service-account-missing": ClusterFinding(
        "the service account does not exist",
        "create it in the function's namespace, or name another: --service-account",
    ),
    "setting-refused": ClusterFinding(
        "a setting is outside of what Knative, or this cluster, takes",
        "give a value inside the range that the message names",
    ),
    "target-above-concurrency": ClusterFinding(
        "the autoscaler aims at more requests than an instance may run at once",
        "lower --target, or raise --concurrency",
        Severity.WARNING,
    ),
    "traffic-to-missing-revision": ClusterFinding(
        "the traffic names a revision that does not exist",
        "mlfn describe NAME lists the revisions; mlfn traffic NAME REVISION=PERCENT… sets the shares",
    ),
    "unschedulable": ClusterFinding(
        "no node of the cluster takes the pod",
        "ask for less (--cpu, --memory), or add a node",
    ),
    "wrong-architecture": ClusterFinding(
        "the image holds programs of another architecture than the node's",
        "build for it: --arch amd64,arm64 (kubectl get nodes -L kubernetes.io/arch tells which)",
    ),
    "wrong-port": ClusterFinding(
        "the server listens at another port than the one that is asked",
        "do not set PORT with --env: the platform says where to listen",
    ),
}


def finding(what: str, message: str, *, seen: str = "", expected: str = "", fix: str = "") -> Finding:
    """Make a finding of a code of the table, with the table's severity, and its fix where none is given."""
    kind = FINDINGS[what]
    return Finding(kind.severity, what, message, seen, expected, fix or kind.fix)
