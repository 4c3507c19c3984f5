"""Documents attached to images: through the referrers interface, or the tag in its place, by many at once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlfn.function import ImageRef
from mlfn.images.contents import EMPTY_CONFIG, OCI_MANIFEST, BlobSource, Descriptor, ImageContent
from mlfn.images.registry import Attachment, Registry

Door = Callable[..., Registry]
SBOM = "application/vnd.cyclonedx+json"


def document(text: str, kind: str = SBOM) -> Attachment:
    return Attachment(kind, BlobSource.of_bytes(text.encode(), kind), {"org.opencontainers.image.title": text})


def push_subject(registry: Registry, repository: str) -> Descriptor:
    config = BlobSource.of_bytes(json.dumps({"of": repository}).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor.as_json(),
        "layers": [],
    }
    image = ImageContent(json.dumps(manifest).encode(), OCI_MANIFEST, (config,))
    registry.push(image, ImageRef(registry.host, repository, "v1", ""))
    return image.descriptor


@pytest.fixture(params=["tag", "interface"])
def host(request: pytest.FixtureRequest, open_registry: Any, small_registry: Any) -> str:
    """Debian's registry, which has no referrers interface, and one that has it."""
    small_registry.referrers_api = True
    return str(open_registry.host if request.param == "tag" else small_registry.host)


def test_what_is_attached_is_listed_and_can_be_read(host: str, door: Door, repository: str, tmp_path: Path) -> None:
    registry = door(host)
    subject = push_subject(registry, repository)
    assert registry.referrers(repository, subject.digest) == ()

    sbom = registry.attach(repository, subject, document("parts"))
    other = registry.attach(repository, subject, document("words", "text/plain"))

    assert {each.digest for each in registry.referrers(repository, subject.digest)} == {sbom.digest, other.digest}
    (found,) = registry.referrers(repository, subject.digest, SBOM)
    assert (found.digest, found.artifact_type) == (sbom.digest, SBOM)
    _, manifest = registry.manifest(ImageRef(host, repository, "", found.digest))
    read = json.loads(manifest)
    assert read["subject"] == {"mediaType": OCI_MANIFEST, "digest": subject.digest, "size": subject.size}
    assert read["config"]["mediaType"] == EMPTY_CONFIG
    registry.blob(repository, Descriptor.from_json(read["layers"][0]), tmp_path / "sbom")
    assert (tmp_path / "sbom").read_bytes() == b"parts"


def test_the_same_document_is_attached_once(host: str, door: Door, repository: str) -> None:
    registry = door(host)
    subject = push_subject(registry, repository)
    first = registry.attach(repository, subject, document("parts"))
    assert registry.attach(repository, subject, document("parts")) == first
    assert len(registry.referrers(repository, subject.digest)) == 1


def test_the_tag_is_written_only_where_it_is_needed(
    open_registry: Any, small_registry: Any, door: Door, repository: str
) -> None:
    small_registry.referrers_api = True
    for host, needed in ((open_registry.host, True), (small_registry.host, False)):
        registry = door(host)
        subject = push_subject(registry, repository)
        registry.attach(repository, subject, document("parts"))
        tag = registry.resolve(ImageRef(host, repository, subject.digest.replace(":", "-"), ""))
        assert (tag is not None) is needed


def test_many_threads_attach_at_once(open_registry: Any, door: Door, repository: str) -> None:
    registry = door(open_registry.host)
    subject = push_subject(registry, repository)
    with ThreadPoolExecutor(4) as pool:
        attached = list(pool.map(lambda n: registry.attach(repository, subject, document(f"part {n}")), range(4)))
    listed = {each.digest for each in registry.referrers(repository, subject.digest)}
    assert listed == {each.digest for each in attached}


def test_many_processes_attach_at_once(open_registry: Any, door: Door, repository: str, tmp_path: Path) -> None:
    registry = door(open_registry.host)
    subject = push_subject(registry, repository)
    script = textwrap.dedent(
        """
        import pathlib, sys
        from mlfn.images.contents import BlobSource, Descriptor
        from mlfn.images.registry import Attachment, connect
        host, repository, media_type, digest, size, text = sys.argv[1:]
        with connect(host, environ={}, home=pathlib.Path("/nonexistent")) as registry:
            registry.referrers(repository, digest)
            print("ready", flush=True)
            sys.stdin.readline()
            document = Attachment("text/plain", BlobSource.of_bytes(text.encode(), "text/plain"))
            print(registry.attach(repository, Descriptor(media_type, digest, int(size)), document).digest)
        """
    )
    names = [f"writer {number} {random.Random(number).random()}" for number in range(4)]
    of = [open_registry.host, repository, subject.media_type, subject.digest, str(subject.size)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, *of, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in names
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        answers = []
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            answers.append(writer.communicate(timeout=100)[0].strip())
            assert writer.returncode == 0
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert {each.digest for each in registry.referrers(repository, subject.digest)} == set(answers)


def test_an_entry_that_another_machine_overwrites_is_added_again(
    small_registry: Any, door: Door, repository: str
) -> None:
    registry = door(small_registry.host)
    subject = push_subject(registry, repository)
    theirs = Descriptor(OCI_MANIFEST, "sha256:" + "1" * 64, 2, artifact_type="theirs")
    tag = subject.digest.replace(":", "-")
    small_registry.others[tag] = json.dumps({"schemaVersion": 2, "manifests": [theirs.as_json()]}).encode()
    ours = registry.attach(repository, subject, document("ours"))
    assert small_registry.others == {}
    listed = [each.digest for each in registry.referrers(repository, subject.digest)]
    assert listed == [theirs.digest, ours.digest]
