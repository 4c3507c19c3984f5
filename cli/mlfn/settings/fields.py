"""Every setting, with its default, its unit and the reason for the default.

The key of a setting in mlfn.yaml (``function.max_scale``) gives its option (``--max-scale``) and its environment
variable (``MLFN_FUNCTION_MAX_SCALE``); it is the attribute's name without its unit (``timeout_s``).
docs/reference/settings.md is generated from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mlfn.settings.values import (
    Kind,
    architectures,
    choice,
    cores,
    duration,
    env_variables,
    flag,
    function_name,
    number,
    object_annotations,
    object_labels,
    object_name,
    path,
    secret_variables,
    size,
    text,
    url,
    warm,
    whole,
)

__all__ = [
    "FIELDS",
    "SECTIONS",
    "ClusterSettings",
    "Field",
    "FunctionSettings",
    "ImageSettings",
    "InvokeSettings",
    "LocalSettings",
    "ServeSettings",
    "Settings",
]


_UNITS = {"_s": "seconds", "_bytes": "bytes", "_millis": "thousandths of a core"}
"""Endings of attributes, which no key has: a value in a file says its own unit."""


def setting(
    kind: Kind, default: object, reason: str, *, unit: str = "", key: str = "", env: str = "", short: str = ""
) -> Any:
    """Return a dataclass field that carries what the resolver, the help texts and the reference say about it."""
    about = {"kind": kind, "reason": reason, "unit": unit, "key": key, "env": env, "short": short}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=about)
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """What is deployed, and how it scales. The words, ranges and defaults are Knative's."""

    name: str = setting(function_name(), "", "name of the function; unset, the stem of the model's file (or folder)")
    model: str = setting(path(), "", "model to deploy when the command names none; relative to the file it stands in")
    metric: str = setting(
        choice("concurrency", "rps"), "concurrency", "what the autoscaler counts: requests at once, or per second"
    )
    concurrency: int = setting(
        whole(0, 1000), 0, "requests that one instance runs at once, 0 for no limit: ONNX Runtime runs several well"
    )
    target: float = setting(
        number(0.01, 1e6, "a number, at least 0.01"),
        100.0,
        "concurrent requests per instance to aim at (never above the concurrency): Knative's default",
    )
    utilization: float = setting(
        number(1, 100, "a percentage from 1 to 100"),
        70.0,
        "share of the target to plan for: the rest is room for what comes while an instance starts",
        unit="percent",
    )
    min_scale: int = setting(whole(0), 0, "instances kept without traffic: 0 scales to zero", unit="instances")
    max_scale: int = setting(
        whole(0), 0, "most instances, 0 for the platform's own bound (local: the number of cores)", unit="instances"
    )
    window_s: int = setting(
        duration(6, 3600, seconds_only=True),
        60,
        "time over which traffic is averaged, and without traffic before the last instance goes",
    )
    cpu_millis: int = setting(
        cores(),
        0,
        "cores of one instance, 0 for the platform's own share: what a model needs is known only after it ran",
    )
    memory_bytes: int = setting(
        size(2**24, or_none=True),
        0,
        "memory limit of one instance, 0 for none: what a model needs is known only after it ran",
    )
    timeout_s: float = setting(
        duration(0.001, 3600),
        300.0,
        "longest time for one request, queueing and cold start included: Knative's default",
    )
    env: Mapping[str, str] = setting(env_variables(), {}, "environment variables of the instances")
    secret_env: Mapping[str, str] = setting(
        secret_variables(),
        {},
        "environment variables out of the cluster's secrets: the value never passes through this machine",
    )
    warm: str = setting(warm(), "off", "how instances are kept warm: a plan, the period of pings, or not at all")
    visibility: str = setting(
        choice("public", "cluster"),
        "public",
        "who reaches it: all who reach the cluster's ingress (Knative's default), or only the cluster itself",
    )
    service_account: str = setting(object_name(), "", "service account of the instances; unset, the default")
    image_pull_secret: str = setting(
        object_name(), "", "secret with which the cluster pulls the image; unset, the service account's"
    )
    labels: Mapping[str, str] = setting(object_labels(), {}, "labels to put on the function's objects", key="label")
    annotations: Mapping[str, str] = setting(
        object_annotations(), {}, "annotations to put on the function's objects", key="annotation"
    )


@dataclass(frozen=True, slots=True)
class InvokeSettings:
    """How `mlfn invoke` sends a request."""

    timeout_s: float = setting(
        duration(0.001, 3600),
        60.0,
        "longest wait for the answer: covers the cold start of a large model, and no one waits longer at a prompt",
    )


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """The platform on this machine."""

    state_dir: str = setting(
        path(),
        "",
        "folder of the service's database, content store and logs; unset, the user's state folder (XDG_STATE_HOME)",
        env="MLFN_STATE_DIR",
    )
    port: int = setting(
        whole(0, 65535), 0, "port of the functions' addresses; 0 leaves the choice to the service, which keeps to it"
    )
    keep_revisions: int = setting(
        whole(1, 1000),
        10,
        "old revisions kept for each function, besides those with traffic or a tag: enough to find the good one",
        unit="revisions",
    )
    keep_age_s: float = setting(
        duration(1, 87600 * 3600),
        720 * 3600.0,
        "time since it last had traffic after which an old revision goes, but for the newest: nobody misses it then",
    )


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How a model becomes a container image, and where it is pushed."""

    registry: str = setting(
        text("REGISTRY[/REPOSITORY]", "a registry such as registry.example.com/team"),
        "",
        "where images are pushed; none is assumed, since a push to the wrong place cannot be taken back",
        env="MLFN_REGISTRY",
        short="-r",
    )
    base: str = setting(
        text("REFERENCE", "an image with Python, or oci:FOLDER"),
        "docker.io/library/python:3.13-slim",
        "the image below the function's own layers: public, kept, with a slim Python",
        env="MLFN_BASE_IMAGE",
    )
    arch: str = setting(
        architectures(),
        "amd64",
        "processors that the image is for: what most clusters have",
    )
    builder: str = setting(
        choice("mlfn", "docker", "podman"), "mlfn", "what makes the image: mlfn itself, which needs no daemon"
    )
    lock: str = setting(path(), "", "pinned and hashed requirements of the image; unset, the runtime's own")
    wheel_dir: str = setting(path(), "", "folder of wheels to take instead of asking a package index")
    index_url: str = setting(
        url("the address of a package index, http://, https:// or file://", "http", "https", "file"),
        "",
        "package index for the wheels; unset, what uv is set to, or PyPI",
    )
    ca_file: str = setting(
        path(), "", "certificates (PEM) of a private authority, for registries and the package index"
    )
    plain_http: bool = setting(
        flag(), False, "talk to the registry without TLS; off, except for registries on this machine"
    )


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The Kubernetes cluster behind the platforms knative and kubernetes."""

    namespace: str = setting(
        object_name("NAMESPACE", "a namespace", longest=63, dots=False),
        "",
        "namespace of the functions; unset, the context's",
        short="-n",
    )
    context: str = setting(text("CONTEXT", "a context"), "", "context of the kubeconfig; unset, its current one")
    kubeconfig: str = setting(path(), "", "kubeconfig file; unset, KUBECONFIG, ~/.kube/config or the pod's account")
    ingress: str = setting(
        text("URL", "an address such as http://10.0.0.1"),
        "",
        "address of the ingress for `mlfn invoke`, where host names do not resolve; unset, it is looked for",
        env="MLFN_INGRESS",
    )
    wait_timeout_s: float = setting(
        duration(1, 3600),
        600.0,
        "longest wait for a deploy: Knative's own progress deadline",
    )


@dataclass(frozen=True, slots=True)
class OpenWhiskSettings:
    """The OpenWhisk behind the platform openwhisk; the credential is WHISK_AUTH's, or .wskprops', never an option."""

    apihost: str = setting(
        text("URL", "an address such as https://whisk.example.com"),
        "",
        "address of OpenWhisk's API; unset, WHISK_APIHOST or .wskprops; there is no other default",
        env="MLFN_OPENWHISK_APIHOST",
    )
    wsk: str = setting(path(), "", "the `wsk` command; unset, the one on PATH", env="MLFN_WSK")
    insecure: bool = setting(flag(), False, "do not check the API's certificate")
    public: bool = setting(flag(), False, "make the function a web action, which anybody can call")
    logs_mb: int = setting(
        whole(0, 10), 10, "logs kept of one activation, OpenWhisk's default; with 0 a container is free at once"
    )
    keep: int = setting(whole(1, 1000), 5, "revisions that stay for a rollback")


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The server that `mlfn serve` runs in the foreground."""

    name: str = setting(text("NAME", "a name"), "", "name of the model in its address; unset, the file's stem")
    host: str = setting(text("HOST", "a host name or address"), "127.0.0.1", "this machine only, until told otherwise")
    port: int = setting(whole(0, 65535), 8080, "what container platforms expect; 0 takes a free port")
    log_file: str = setting(path(), "", "file for the JSON log lines; unset, standard output")
    threads: int = setting(
        whole(0, 1024), 0, "cores for the model, 0 for all that the affinity and the control group allow", unit="cores"
    )
    max_queue: int = setting(
        whole(1, 1_000_000), 256, "inferences that may wait, 503 above: at 5 ms a run, 256 wait for over a second"
    )
    max_body_bytes: int = setting(
        size(1024),
        64 * 2**20,
        "largest request, 413 above: room for 16 million floats, and each is held in memory whole",
    )
    timeout_s: float = setting(
        duration(0.001, 3600),
        60.0,
        "longest time from a request's last byte to its answer, 504 above: the least that common proxies wait",
    )
    openwhisk: bool = setting(
        flag(),
        False,
        "answer OpenWhisk's /init and /run; off, so that nobody replaces a model from outside",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one run."""

    platform: str = setting(text("NAME", "a platform's name"), "local", "where functions run: needs nothing installed")
    function: FunctionSettings = field(default_factory=FunctionSettings)
    invoke: InvokeSettings = field(default_factory=InvokeSettings)
    local: LocalSettings = field(default_factory=LocalSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    openwhisk: OpenWhiskSettings = field(default_factory=OpenWhiskSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)


@dataclass(frozen=True, slots=True)
class Field:
    """Describe one setting outside of its dataclass."""

    key: str
    section: str
    attribute: str
    kind: Kind
    default: object
    unit: str
    reason: str
    env: str
    option: str
    """The command-line option that sets it."""
    short: str
    """Its short form, "" where it has none."""
    parameter: str
    """The name under which a command receives the option."""


SECTIONS: dict[str, type] = {
    "function": FunctionSettings,
    "invoke": InvokeSettings,
    "local": LocalSettings,
    "image": ImageSettings,
    "cluster": ClusterSettings,
    "openwhisk": OpenWhiskSettings,
    "serve": ServeSettings,
}


def _describe(section: str, owner: type) -> dict[str, Field]:
    found = {}
    blank = owner()
    for each in fields(owner):
        about = each.metadata
        if not about:
            continue
        ending = next((ending for ending in _UNITS if each.name.endswith(ending)), "")
        key = f"{section}.{about['key'] or each.name.removesuffix(ending)}".lstrip(".")
        env = about["env"] or "MLFN_" + key.upper().replace(".", "_")
        found[key] = Field(
            key=key,
            section=section,
            attribute=each.name,
            kind=about["kind"],
            default=getattr(blank, each.name),
            unit=about["unit"] or _UNITS.get(ending, ""),
            reason=about["reason"],
            env=env,
            option="--" + key.rpartition(".")[2].replace("_", "-"),
            short=about["short"],
            parameter=key.replace(".", "_"),
        )
    return found


FIELDS: dict[str, Field] = {
    key: each
    for section, owner in (("", Settings), *SECTIONS.items())
    for key, each in _describe(section, owner).items()
}
"""Every setting by its key in mlfn.yaml."""
