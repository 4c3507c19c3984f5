"""Documents attached to an image, such as its bill of materials: the referrers interface, or the tag in its place.

A registry that knows the interface says so when it takes the document. One that does not gets an index under the tag
``sha256-<hex>``, which every client of such registries writes. Nobody can lock that tag: what one writer adds, another
may overwrite with what it had read before. So each writer looks again once the others have had the time to write, and
adds itself again where it is missing.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlfn.errors import BuildFailed, Conflict
from mlfn.images.contents import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, BlobSource, Descriptor, ImageContent
from mlfn.images.exchange import Place
from mlfn.images.manifests import get_manifest, put_manifest

__all__ = ["Attachment", "attach_manifest", "attachment_content", "list_referrers"]

_SETTLE_S = 0.25
"""Least wait before looking whether an entry is still there."""
_SETTLE_TRIPS = 4
"""Times its own read and write that a writer waits for others, who may be as slow."""
_MOST_ROUNDS = 20
_locks: defaultdict[tuple[str, str, str], threading.Lock] = defaultdict(threading.Lock)


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
    with _locks[place.exchange.host, place.repository, tag]:
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


def _listed(place: Place, tag: str) -> tuple[Descriptor, ...]:
    found = get_manifest(place, tag)
    return _entries(place, found[1]) if found is not None else ()


def _entries(place: Place, index: bytes) -> tuple[Descriptor, ...]:
    try:
        return tuple(Descriptor.from_json(entry) for entry in json.loads(index)["manifests"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildFailed(f"registry {place.exchange.host}: what lists {place.repository} is no index") from error
