"""Manifests and indexes of a repository: looked up, read and written, each held to its digest."""

from __future__ import annotations

from mlfn.errors import BuildFailed
from mlfn.images.contents import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from mlfn.images.exchange import Place
from mlfn.images.wire import Reply

__all__ = ["LARGEST_MANIFEST", "get_manifest", "head_manifest", "put_manifest"]

LARGEST_MANIFEST = 4 << 20
"""Bytes that every registry must take (the OCI distribution specification)."""
_ACCEPT = {"accept": ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))}


def head_manifest(place: Place, reference: str) -> Descriptor | None:
    """Tell what a tag or digest names, without moving the manifest; None where there is nothing."""
    reply = place.send("HEAD", f"manifests/{reference}", _ACCEPT)
    if reply.status == 404:
        return None
    if reply.status == 200:
        digest = reply.headers.get("docker-content-digest", "")
        size = reply.headers.get("content-length", "")
        if digest and size.isdigit():
            return Descriptor(_media_type(reply), digest, int(size))
    # The answer to a HEAD has no words for a refusal, and some registries leave the digest out.
    found = get_manifest(place, reference)
    return found[0] if found is not None else None


def get_manifest(place: Place, reference: str) -> tuple[Descriptor, bytes] | None:
    """Return the manifest that a tag or digest names, as bytes with their descriptor; None where there is nothing."""
    reply = place.send("GET", f"manifests/{reference}", _ACCEPT)
    if reply.status == 404:
        return None
    if reply.status != 200:
        raise place.error(reply, f"pull {_name(place, reference)}")
    digest = digest_of(reply.body)
    expected = reference if reference.startswith("sha256:") else reply.headers.get("docker-content-digest", digest)
    if digest != expected:
        raise BuildFailed(
            f"registry {place.exchange.host} sent a manifest of digest {digest} for {_name(place, reference)}; "
            f"expected {expected}",
            hints=("try again; if it stays so, the registry's storage or a proxy on the way damages data",),
        )
    return Descriptor(_media_type(reply), digest, len(reply.body)), reply.body


def put_manifest(place: Place, reference: str, content: bytes, media_type: str) -> Reply:
    """Write a manifest under a tag or its digest; believe the registry only with the right digest."""
    if len(content) > LARGEST_MANIFEST:
        raise BuildFailed(f"the manifest of {_name(place, reference)} has {len(content)} bytes; 4 MiB is the most")
    reply = place.send("PUT", f"manifests/{reference}", {"content-type": media_type}, content)
    if reply.status not in {200, 201, 202}:
        raise place.error(reply, f"push {_name(place, reference)}")
    digest = digest_of(content)
    seen = reply.headers.get("docker-content-digest", digest)
    if seen != digest:
        raise BuildFailed(f"registry {place.exchange.host} stored {seen} where {digest} was sent")
    return reply


def _media_type(reply: Reply) -> str:
    return reply.headers.get("content-type", "").partition(";")[0].strip() or OCI_MANIFEST


def _name(place: Place, reference: str) -> str:
    return f"{place.repository}{'@' if reference.startswith('sha256:') else ':'}{reference}"
