"""Say why an image cannot be had, from the words of whoever tried: Knative's controller, or the node. Pure.

An answer of the registry (no such image, no login, no such platform) is final at first sight. A registry that is away
or overloaded may be back a moment later, so that is final only when it failed again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
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
class _Pull:
    """Hold what failed: the image, its registry, and the words."""

    image: str
    host: str
    words: str
    repeated: bool


def looks_like_a_pull(text: str) -> bool:
    """Return whether words of a node or a controller are about getting an image."""
    low = text.lower()
    return any(part in low for part in ("pull", "fetch image", "resolve image", "resolve reference", "unpack image"))


def image_cause(text: str, image: str, *, repeated: bool) -> Cause:
    """Return the cause that ``text`` tells of ``image`` (as far as known); ``repeated``: it failed more than once."""
    named = _IMAGE.search(text)
    wanted = image or (named[1] if named else "")
    host = _host(wanted)
    low = text.lower()
    pull = _Pull(wanted or "the image", host or "the registry", quoted(_essence(text)), repeated)
    for words, tell in _TELLERS:
        if any(word in low for word in words):
            return tell(pull)
    return cause(
        "image-not-pulled",
        f"{pull.image} cannot be pulled: {pull.words}",
        conclusive=repeated,
        seen=pull.words,
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


def _no_platform(pull: _Pull) -> Cause:
    message = f"{pull.image} has no variant for the node's architecture: {pull.words}"
    return cause("no-matching-platform", message, conclusive=True, seen=pull.words)


def _unauthorised(pull: _Pull) -> Cause:
    return cause(
        "image-unauthorised",
        f"the registry {pull.host} does not let the cluster read {pull.image}: {pull.words}",
        conclusive=True,
        seen=pull.words,
        fix=f"kubectl create secret docker-registry NAME --docker-server={pull.host} --docker-username=USER "
        "--docker-password=…, then deploy with --image-pull-secret NAME",
    )


def _missing(pull: _Pull) -> Cause:
    return cause(
        "image-not-found",
        f"{pull.image} is not in the registry {pull.host}: {pull.words}",
        conclusive=True,
        seen=pull.words,
    )


def _unknown_host(pull: _Pull) -> Cause:
    return cause(
        "registry-unknown-host",
        f"the cluster does not find the registry {pull.host}: {pull.words}",
        conclusive=True,
        seen=pull.words,
        fix=f"name the registry as the cluster's nodes know it (-r {pull.host} is known to this machine at most)",
    )


def _plain_http(pull: _Pull) -> Cause:
    return cause(
        "registry-plain-http",
        f"the registry {pull.host} speaks plain HTTP, the cluster HTTPS: {pull.words}",
        conclusive=True,
        seen=pull.words,
    )


def _untrusted(pull: _Pull) -> Cause:
    return cause(
        "registry-untrusted",
        f"the cluster does not trust the certificate of the registry {pull.host}: {pull.words}",
        conclusive=True,
        seen=pull.words,
    )


def _limited(pull: _Pull) -> Cause:
    return cause(
        "registry-rate-limit",
        f"the registry {pull.host} has had too many requests of the cluster: {pull.words}",
        conclusive=pull.repeated,
        seen=pull.words,
    )


def _away(pull: _Pull) -> Cause:
    return cause(
        "registry-unreachable",
        f"the cluster cannot reach the registry {pull.host}: {pull.words}",
        conclusive=pull.repeated,
        seen=pull.words,
        fix=f"is it up, and reachable from a node? curl -v https://{pull.host}/v2/ there; then deploy again",
    )


def _invalid(pull: _Pull) -> Cause:
    message = f"{pull.image} is not a valid reference of an image: {pull.words}"
    return cause("image-not-found", message, conclusive=True, seen=pull.words)


def _disk_full(pull: _Pull) -> Cause:
    message = f"the node has no room for {pull.image}: {pull.words}"
    return cause("node-trouble", message, conclusive=pull.repeated, seen=pull.words)


_TELLERS: tuple[tuple[tuple[str, ...], Callable[[_Pull], Cause]], ...] = (
    (("no match for platform", "no matching manifest", "no child with platform", "no image found in"), _no_platform),
    (("no space left",), _disk_full),
    (("no such host", "name or service not known"), _unknown_host),
    (("http response to https client", "first record does not look like a tls handshake"), _plain_http),
    (("x509", "certificate"), _untrusted),
    (("429", "toomanyrequests", "too many requests", "rate limit"), _limited),
    (
        ("401 ", "403 ", "unauthorized", "forbidden", "denied", "authentication required", "no basic auth"),
        _unauthorised,
    ),
    (("404", "not found", "manifest unknown", "name unknown", "does not exist"), _missing),
    (("invalidimagename", "invalid reference", "could not parse reference", "couldn't parse image"), _invalid),
    ((*_TRANSIENT, "500 ", "502 ", "503 ", "504 "), _away),
)
"""Words -> who tells them; the first that fits. A missing platform is told as "not found" too, so it stands first."""
