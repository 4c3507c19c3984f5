"""Documents attached to an image, such as its bill of materials: the referrers interface, or the tag in its place.

A registry that knows the interface says so when it takes the document. One that does not gets an index under the tag
``sha256-<hex>``, which every client of such registries writes. Nobody can lock that tag: what one writer adds, another
may overwrite with what it had read before. So each writer looks again once the others have had the time to write, and
adds itself again where it is missing. Writers on one machine wait for each other besides.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlfn.errors import BuildFailed, Conflict
from mlfn.images.contents import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, BlobSource, Descriptor, ImageContent
from mlfn.images.exchange import Place
from mlfn.images.manifests import get_manifest, put_manifest
from mlfn.images.retries import Retrying

__all__ = ["Attachment", "attach_manifest", "attachment_content", "list_referrers"]

_SETTLE_S = 0.25
"""Least wait before looking whether an entry is still there."""
_SETTLE_TRIPS = 4
"""Times its own read and write that a writer waits for others, who may be as slow."""
_MOST_ROUNDS = 20
_LOCK_S = 30.0
"""Longest wait for another writer of this machine."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Hold a document to attach to an image."""

    artifact_type: str
    """What it is, such as ``application/vnd.cyclonedx+json``."""
    document: BlobSource
    annotations: Mapping[str, str] = field(default_factory=dict)


def attachment_content(subject: Descriptor, attachment: Attachment) -> ImageContent:
    """Make the manifest that carries the document and points to the image; the same inputs give the same bytes."""
    config = BlobSource.of_bytes(b"{}", EMPTY_CONFIG)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": attachment.artifact_type,
        "config": config.descriptor.as_json(),
        "layers": [attachment.document.descriptor.as_json()],
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).as_json(),
    }
    if attachment.annotations:
        manifest["annotations"] = dict(sorted(attachment.annotations.items()))
    content = json.dumps(manifest, separators=(",", ":")).encode()
    return ImageContent(content, OCI_MANIFEST, (config, attachment.document))


def attach_manifest(place: Place, subject: Descriptor, content: ImageContent) -> None:
    """Write the manifest of an attachment, whose blobs are there, and list it where the registry does not."""
    reply = put_manifest(place, content.digest, content.manifest, content.media_type)
    if reply.headers.get("oci-subject"):
        return
    manifest = json.loads(content.manifest)
    entry = Descriptor(
        content.media_type,
        content.digest,
        len(content.manifest),
        annotations=manifest.get("annotations", {}),
        artifact_type=manifest["artifactType"],
    )
    tag = _fallback_tag(subject.digest)
    with _alone_on_this_machine(place.exchange.retrying):
        _list_under(place, tag, entry)


def list_referrers(place: Place, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
    """Return what is attached to an image, of one type or of all, in the registry's order."""
    reply = place.send("GET", f"referrers/{digest}", {"accept": OCI_INDEX})
    if reply.status == 200 and reply.headers.get("content-type", "").startswith(OCI_INDEX):
        found = _entries(place, reply.body)
    elif reply.status in {200, 404, 405, 501}:
        found = _listed(place, _fallback_tag(digest))
    else:
        raise place.error(reply, f"list what is attached to {place.repository}@{digest}")
    return tuple(entry for entry in found if artifact_type in {"", entry.artifact_type})


def _fallback_tag(digest: str) -> str:
    return digest.replace(":", "-")


def _list_under(place: Place, tag: str, entry: Descriptor) -> None:
    for _ in range(_MOST_ROUNDS):
        started = time.monotonic()
        listed = _listed(place, tag)
        if any(other.digest == entry.digest for other in listed):
            return
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [each.as_json() for each in (*listed, entry)],
        }
        put_manifest(place, tag, json.dumps(index, separators=(",", ":")).encode(), OCI_INDEX)
        took_s = time.monotonic() - started
        spread = random.uniform(1.0, 1.5)  # noqa: S311  # parts writers, guards nothing
        place.exchange.retrying.pause(max(_SETTLE_S, _SETTLE_TRIPS * took_s) * spread)
    raise Conflict(
        f"others keep overwriting the tag {tag} of {place.repository} on {place.exchange.host}",
        hints=("try again later",),
    )


@contextlib.contextmanager
def _alone_on_this_machine(retrying: Retrying) -> Iterator[None]:
    """Hold a lock between this user's threads and processes; go without one that cannot be had."""
    file = Path(tempfile.gettempdir(), f"mlfn-{os.getuid()}-attach.lock")  # one for all, so that they do not pile up
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + _LOCK_S
        while not _locked(handle) and time.monotonic() < deadline:
            retrying.pause(0.02)
        yield
    finally:
        os.close(handle)  # the file stays: to delete it would give the next two writers a lock each


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _listed(place: Place, tag: str) -> tuple[Descriptor, ...]:
    found = get_manifest(place, tag)
    return _entries(place, found[1]) if found is not None else ()


def _entries(place: Place, index: bytes) -> tuple[Descriptor, ...]:
    try:
        return tuple(Descriptor.from_json(entry) for entry in json.loads(index)["manifests"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildFailed(f"registry {place.exchange.host}: what lists {place.repository} is no index") from error
