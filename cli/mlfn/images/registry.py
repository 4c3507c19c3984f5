"""The door to a registry: images and blobs in and out over the OCI distribution protocol, without a daemon.

A ``Registry`` speaks to one host. It streams, sends several blobs at once, skips what is there, mounts what lies next
door, continues what was cut, and believes nothing without its digest. Every method raises
:class:`mlfn.errors.MlfnError` and nothing else; no message, log line or ``repr`` holds a secret. It must not know how
images are made. Registries are asked for when a method is called: ``connect`` moves no bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mlfn.errors import NotFound
from mlfn.function import ImageRef
from mlfn.images.authorisation import Login
from mlfn.images.contents import BlobSource, Descriptor, ImageContent
from mlfn.images.credentials import find_credentials
from mlfn.images.downloads import download, open_blob
from mlfn.images.exchange import Exchange, Place
from mlfn.images.manifests import get_manifest, head_manifest, put_manifest
from mlfn.images.referrers import Attachment, attach_manifest, attachment_content, list_referrers
from mlfn.images.retries import Patience, Retrying
from mlfn.images.uploads import Uploads, blob_is_there
from mlfn.images.wire import Wire

__all__ = ["Attachment", "Patience", "Pushed", "Registry", "RegistrySettings", "connect"]

Progress = Callable[[str], None]
"""Hears in words how far a push is; called from several threads, one at a time."""

_BETWEEN_ABORTS_S = 0.2


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Say how to speak to a registry."""

    plain_http: bool = False
    """No TLS. A registry on this machine may speak plain HTTP without being told so."""
    ca_file: str = ""
    """PEM file of a private authority, trusted besides the public ones."""
    parallel: int = 4
    """Blobs in flight at once: more gain nothing against one registry, and fewer leave the line idle."""
    chunk_bytes: int = 32 << 20
    """Largest piece that one request carries. Below 100 MB, which common proxies refuse."""
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Pushed:
    """Tell what a push did."""

    ref: ImageRef
    sent_bytes: int
    """Of blobs, with what was sent twice after a cut."""
    uploaded: int
    """Blobs that were sent."""
    mounted: int
    """Blobs that the registry shared with another of its repositories."""
    skipped: int
    """Blobs that were there."""

    @property
    def changed(self) -> bool:
        """Tell whether any blob moved."""
        return bool(self.uploaded or self.mounted)


def connect(
    host: str, settings: RegistrySettings | None = None, *, environ: Mapping[str, str], home: Path | None = None
) -> Registry:
    """Return the door to the registry ``host``.

    ``environ`` names proxies and files of credentials; ``home`` holds the well-known ones, by default the user's own.
    """
    return Registry(host, settings or RegistrySettings(), environ, home or Path.home())


class Registry:
    """Speak to one registry. A context manager, which closes its connections.

    Several threads may use it at once, but a push that fails calls off all that goes on: give each push its own.
    """

    def __init__(self, host: str, settings: RegistrySettings, environ: Mapping[str, str], home: Path) -> None:
        """Use :func:`connect`."""
        self.host = host
        self._settings = settings
        self._stop = threading.Event()
        # Two for each upload: its source may be a blob of this registry that it would not mount.
        self._wire = Wire(host, settings.ca_file, environ, 2 * settings.parallel + 2)
        retrying = Retrying(settings.patience, self._stop)
        login = Login(host, self._wire, retrying, lambda name: find_credentials(host, name, environ, home))
        self._exchange = Exchange(host, self._wire, login, retrying, plain_http=settings.plain_http)
        self._uploads = Uploads(settings.chunk_bytes)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    # -- reading --

    def resolve(self, ref: ImageRef) -> Descriptor | None:
        """Tell what a reference names now (its digest goes before its tag); None where there is nothing."""
        return head_manifest(self._reading(ref.repository), ref.digest or ref.tag)

    def manifest(self, ref: ImageRef) -> tuple[Descriptor, bytes]:
        """Return the manifest or index that a reference names, checked against its digest. Raises NotFound."""
        found = get_manifest(self._reading(ref.repository), ref.digest or ref.tag)
        if found is None:
            name = ref.pinned if ref.digest else ref.tagged
            raise NotFound(f"registry {self.host} has no image {name}", hints=("check its name and tag",))
        return found

    def has_blob(self, repository: str, descriptor: Descriptor) -> bool:
        """Tell whether a repository has a blob."""
        return blob_is_there(self._reading(repository), descriptor)

    def blob(self, repository: str, descriptor: Descriptor, to: Path) -> None:
        """Write a blob to a file, which appears when it is complete and right, or not at all."""
        download(self._reading(repository), descriptor, to)

    def open_blob(self, repository: str, descriptor: Descriptor) -> BinaryIO:
        """Return a stream of a blob; its last read raises BuildFailed when the digest is wrong."""
        return open_blob(self._reading(repository), descriptor)

    def source(self, repository: str, descriptor: Descriptor) -> BlobSource:
        """Return a blob for sending on: to this registry by mounting, to another one as a stream."""
        return BlobSource(
            descriptor, lambda: self.open_blob(repository, descriptor), mount_from=(f"{self.host}/{repository}",)
        )

    def referrers(self, repository: str, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return the descriptors of what is attached to an image."""
        return list_referrers(self._reading(repository), digest, artifact_type)

    # -- writing --

    def mount(self, repository: str, digest: str, from_repository: str) -> bool:
        """Let ``repository`` share a blob of another one of this registry; False where it would not."""
        return self._uploads.mount(self._writing(repository), digest, from_repository)[0]

    def push_blob(self, repository: str, source: BlobSource, progress: Progress | None = None) -> int:
        """Send a blob unless it is there, or can be mounted; return the bytes sent."""
        tally = _Tally((source,), progress)
        self._push_one(self._writing(repository), source, tally)
        return tally.sent_bytes

    def push_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        """Write a manifest, whose parts are there, under a tag or its digest."""
        put_manifest(self._writing(repository), reference, content, media_type)

    def push(self, image: ImageContent, to: ImageRef, progress: Progress | None = None) -> Pushed:
        """Make the registry hold an image, with all its children, under a name; without a tag, under its digest only.

        Nothing is sent when the name means that image already. The name changes its meaning last, when all is there.
        """
        place = self._writing(to.repository)
        ref = ImageRef(to.registry, to.repository, to.tag, image.digest)
        sources = tuple(image.all_blobs())
        tally = _Tally(sources, progress)
        there = head_manifest(place, to.tag or image.digest)
        if there is not None and there.digest == image.digest:
            return Pushed(ref, 0, 0, 0, len(sources))
        if head_manifest(place, image.digest) is None:
            self._push_all(place, sources, tally)
            for child in _children_first(image):
                put_manifest(place, child.digest, child.manifest, child.media_type)
        else:
            tally.skipped = len(sources)
        put_manifest(place, to.tag or image.digest, image.manifest, image.media_type)
        return Pushed(ref, tally.sent_bytes, tally.uploaded, tally.mounted, tally.skipped)

    def attach(self, repository: str, subject: Descriptor, attachment: Attachment) -> Descriptor:
        """Attach a document to an image of the repository; nothing happens when it is attached already."""
        place = self._writing(repository)
        content = attachment_content(subject, attachment)
        if all(entry.digest != content.digest for entry in list_referrers(place, subject.digest)):
            self._push_all(place, tuple(content.all_blobs()), _Tally(content.blobs, None))
            attach_manifest(place, subject, content)
        return content.descriptor

    def _reading(self, repository: str) -> Place:
        return self._exchange.at(repository, writing=False)

    def _writing(self, repository: str) -> Place:
        return self._exchange.at(repository, writing=True)

    def _push_all(self, place: Place, sources: Iterable[BlobSource], tally: _Tally) -> None:
        """Send blobs side by side; the first failure calls the others off and is the one that is told."""
        with ThreadPoolExecutor(self._settings.parallel, thread_name_prefix="mlfn-push") as pool:
            futures = [pool.submit(self._push_one, place, source, tally) for source in sources]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:  # an interrupt as well: nothing may go on behind the back of who called
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._wire.abort()
                begun = [each for each in futures if not each.cancelled()]
                while wait(begun, timeout=_BETWEEN_ABORTS_S).not_done:
                    self._wire.abort()  # a sender that was about to connect has a connection now
                raise
            finally:
                self._stop.clear()

    def _push_one(self, place: Place, source: BlobSource, tally: _Tally) -> None:
        digest = source.descriptor.digest
        if blob_is_there(place, source.descriptor):
            tally.note(skipped=1, done_bytes=source.descriptor.size)
            return
        location = ""
        for name in source.mount_from:
            registry, _, repository = name.partition("/")
            if registry == self.host and repository != place.repository:
                mounted, location = self._uploads.mount(place, digest, repository)
                if mounted:
                    tally.note(mounted=1, done_bytes=source.descriptor.size)
                    return
        self._uploads.send(place, source, tally.block, location)
        tally.note(uploaded=1)


class _Tally:
    """Count what a push does, and tell its progress one step at a time."""

    def __init__(self, sources: Iterable[BlobSource], progress: Progress | None) -> None:
        self.sent_bytes = self.uploaded = self.mounted = self.skipped = 0
        self._total_bytes = sum(source.descriptor.size for source in sources)
        self._done_bytes = 0
        self._told = -1
        self._progress = progress
        self._lock = threading.Lock()

    def block(self, count: int) -> None:
        """Count bytes that were sent."""
        with self._lock:
            self.sent_bytes += count
            self._move(count)

    def note(self, *, uploaded: int = 0, mounted: int = 0, skipped: int = 0, done_bytes: int = 0) -> None:
        """Count a blob that is in its place."""
        with self._lock:
            self.uploaded += uploaded
            self.mounted += mounted
            self.skipped += skipped
            self._move(done_bytes)

    def _move(self, count: int) -> None:
        self._done_bytes += count
        percent = min(100, 100 * self._done_bytes // self._total_bytes) if self._total_bytes else 100
        if self._progress is not None and self.sent_bytes and percent > self._told:
            self._told = percent
            self._progress(f"pushing, {percent} % of {self._total_bytes / 1e6:.1f} MB")


def _children_first(image: ImageContent) -> Iterable[ImageContent]:
    """Yield all below an index, what is named before what names it."""
    for child in image.children:
        yield from _children_first(child)
        yield child
