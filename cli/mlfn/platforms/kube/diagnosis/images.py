"""Say why an image cannot be had, from the words of whoever tried: Knative's controller, or the node. Pure.

An answer of the registry (no such image, no login, no such platform) is final at first sight. A registry that is away
or overloaded may be back a moment later, so that is final only when it failed again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlfn.platforms.kube.diagnosis.causes import Cause, cause, quoted

__all__ = ["image_cause", "looks_like_a_pull"]

_IMAGE = re.compile(r'(?:image|reference|manifest for) "?([\w.-]+(?::\d+)?/[\w./:@-]+\w)"?', re.IGNORECASE)
_PREFIXES = re.compile(
    r'^(?:Failed to pull image ".*?": |Back-off pulling image ".*?": |Unable to fetch image ".*?": |ErrImagePull: |'
    r'rpc error: code = \w+ desc = |failed to pull and unpack image ".*?": |failed to resolve reference ".*?": )'
)
"""What kubelet and containerd say before what is new; each names the image again."""
_TRANSIENT = (
    "connection refused",
    "timeout",
    "timed out",
    "deadline exceeded",
    "no route to host",
    "network is unreachable",
    "connection reset",
    "unexpected eof",
    "temporary failure",
    "server misbehaving",
)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Say how one kind of failure is told."""

    words: tuple[str, ...]
    """What is found in the words of the node or the controller, in lower case."""
    what: str
    message: str
    passing: bool = False
    """It may pass, and is final only when it happens again."""
    fix: str = ""
    """"" for the table's own."""


def looks_like_a_pull(text: str) -> bool:
    """Return whether words of a node or a controller are about getting an image."""
    low = text.lower()
    return any(part in low for part in ("pull", "fetch image", "resolve image", "resolve reference", "unpack image"))


def image_cause(text: str, image: str, *, repeated: bool) -> Cause:
    """Return the cause that ``text`` tells of ``image`` (as far as known); ``repeated``: it failed more than once."""
    named = _IMAGE.search(text)
    wanted = image or (named[1] if named else "")
    host = _host(wanted)
    low, words = text.lower(), quoted(_essence(text))
    failure = next(each for each in _SEEN if any(part in low for part in each.words))
    names = {"image": wanted or "the image", "host": host or "the registry"}
    return cause(
        failure.what,
        f"{failure.message.format(**names)}: {words}",
        conclusive=repeated or not failure.passing,
        seen=words,
        fix=failure.fix.format(**names),
    )


def _essence(text: str) -> str:
    """Return what is said behind the names of the image."""
    rest, before = " ".join(text.split()), ""
    while rest != before:
        rest, before = _PREFIXES.sub("", rest), rest
    return rest


def _host(image: str) -> str:
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


_SEEN: tuple[_Failure, ...] = (
    # A missing platform is told as "not found" too, so it stands first.
    _Failure(
        ("no match for platform", "no matching manifest", "no child with platform", "no image found in"),
        "no-matching-platform",
        "{image} has no variant for the node's architecture",
    ),
    _Failure(("no space left",), "node-trouble", "the node has no room for {image}", passing=True),
    _Failure(
        ("no such host", "name or service not known"),
        "registry-unknown-host",
        "the cluster does not find the registry {host}",
        fix="name the registry as the cluster's nodes know it (-r {host} is known to this machine at most)",
    ),
    _Failure(
        ("http response to https client", "first record does not look like a tls handshake"),
        "registry-plain-http",
        "the registry {host} speaks plain HTTP, the cluster HTTPS",
    ),
    _Failure(
        ("x509", "certificate"),
        "registry-untrusted",
        "the cluster does not trust the certificate of the registry {host}",
    ),
    _Failure(
        ("429", "toomanyrequests", "too many requests", "rate limit"),
        "registry-rate-limit",
        "the registry {host} has had too many requests of the cluster",
        passing=True,
    ),
    _Failure(
        ("401 ", "403 ", "unauthorized", "forbidden", "denied", "authentication required", "no basic auth"),
        "image-unauthorised",
        "the registry {host} does not let the cluster read {image}",
        fix="kubectl create secret docker-registry NAME --docker-server={host} --docker-username=USER "
        "--docker-password=…, then deploy with --image-pull-secret NAME",
    ),
    _Failure(
        ("404", "not found", "manifest unknown", "name unknown", "does not exist"),
        "image-not-found",
        "{image} is not in the registry {host}",
    ),
    _Failure(
        ("invalidimagename", "invalid reference", "could not parse reference", "couldn't parse image"),
        "image-not-found",
        "{image} is not a valid reference of an image",
    ),
    _Failure(
        (*_TRANSIENT, "500 ", "502 ", "503 ", "504 "),
        "registry-unreachable",
        "the cluster cannot reach the registry {host}",
        passing=True,
        fix="is it up, and reachable from a node? curl -v https://{host}/v2/ there; then deploy again",
    ),
    _Failure(("",), "image-not-pulled", "{image} cannot be pulled", passing=True),
)
"""The first that fits; the last fits always."""
