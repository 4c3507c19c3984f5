"""Make the base image of the tests: Debian with its Python, for amd64 and arm64, as an OCI layout.

    python tests/e2e/base_image.py                                   print the folder of the layout, made once
    python tests/e2e/base_image.py --push 127.0.0.1:5000/base/python:3.11     and push it (plain HTTP)
    python tests/e2e/base_image.py --python 3.13                     of Debian 13 instead of 12

Public images cannot be had everywhere that tests run; Debian's packages can. ``mmdebstrap`` (``apt-get install
mmdebstrap``) downloads and unpacks them without running any of their scripts, so that the other architecture needs no
emulation. Owners, times and order are fixed: the same packages give the same digests. Like the public slim images of
Python it carries no bytecode of the standard library and names its interpreter in PATH as ``python3`` and ``python``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["ARCHITECTURES", "build", "push"]

ARCHITECTURES = ("amd64", "arm64")
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""Python -> the Debian that has it."""
LEFT_OUT = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/", "var/")
LINKS = ("usr/bin/python3", "usr/bin/python")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlfn-tests"
RECIPE = "1"
"""Change it with anything here that changes the bytes: it is part of the cache's key."""
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Descriptor(NamedTuple):
    """A blob of the layout."""

    media_type: str
    digest: str
    size: int

    def as_json(self, **more: object) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **more}


def build(python: str = "3.11", cache: Path = CACHE) -> Path:
    """Return the folder of the layout, made if this machine has none yet."""
    recipe = json.dumps([RECIPE, SUITES[python], _packages(python), LEFT_OUT, LINKS])
    key = hashlib.sha256(recipe.encode()).hexdigest()
    layout = cache / f"base-{key[:12]}"
    if layout.is_dir():
        return layout
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = Path(temporary, "layout")
        (made / "blobs" / "sha256").mkdir(parents=True)
        manifests = [_architecture(made, python, architecture, Path(temporary)) for architecture in ARCHITECTURES]
        index = _write(made, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        named = index.as_json(annotations={"org.opencontainers.image.ref.name": python})
        (made / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (made / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
        try:
            made.rename(layout)
        except OSError:  # another run was faster
            if not layout.is_dir():
                raise
    return layout


def _packages(python: str) -> tuple[str, ...]:
    return (f"python{python}", "libstdc++6", "libgcc-s1")


def _architecture(layout: Path, python: str, architecture: str, temporary: Path) -> dict[str, object]:
    """Unpack the packages of one architecture and write its blobs; return the entry of the index."""
    if shutil.which("mmdebstrap") is None:
        raise SystemExit(
            "error: mmdebstrap is not installed, which makes the base image\nhint: apt-get install mmdebstrap"
        )
    unpacked = temporary / f"{architecture}.tar"
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={architecture}"]
    command += [f"--include={','.join(_packages(python))}", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    done = subprocess.run([*command, SUITES[python], str(unpacked)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    layer, diff_id = _layer(unpacked, python, layout)
    unpacked.unlink()
    platform = {"architecture": architecture, "os": "linux"} | ({"variant": "v8"} if architecture == "arm64" else {})
    made_by = f"mmdebstrap {SUITES[python]} {' '.join(_packages(python))}"
    environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
    configuration = _write(
        layout,
        CONFIG,
        {
            **platform,
            "config": {"Env": environment, "Cmd": ["python3"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": made_by}],
            "created": "1970-01-01T00:00:00Z",
        },
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": configuration.as_json(),
        "layers": [layer.as_json()],
    }
    return _write(layout, MANIFEST, manifest).as_json(platform=platform)


def _layer(unpacked: Path, python: str, layout: Path) -> tuple[Descriptor, str]:
    """Write what is kept of a tar as a compressed layer: sorted, of root, without times."""
    plain = io.BytesIO()
    with tarfile.open(unpacked) as source, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as target:
        members = {member.name.removeprefix("./").rstrip("/"): member for member in source}
        for name in sorted(set(members) | set(LINKS)):
            if name in ("", ".") or name.startswith(("dev/", *LEFT_OUT)) or "__pycache__" in name:
                continue
            kept = tarfile.TarInfo(name)
            if name in LINKS:
                kept.type, kept.linkname, kept.mode = tarfile.SYMTYPE, f"python{python}", 0o777
                target.addfile(kept)
                continue
            member = members[name]
            kept.type, kept.mode, kept.size = member.type, member.mode, member.size
            kept.linkname = member.linkname.removeprefix("./") if member.islnk() else member.linkname
            target.addfile(kept, source.extractfile(member) if member.isreg() else None)
    data = plain.getvalue()
    compressed = gzip.compress(data, compresslevel=6, mtime=0)
    return _write(layout, LAYER, compressed), f"sha256:{hashlib.sha256(data).hexdigest()}"


def _write(layout: Path, media_type: str, content: object) -> Descriptor:
    data = content if isinstance(content, bytes) else json.dumps(content, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return Descriptor(media_type, f"sha256:{digest}", len(data))


def push(layout: Path, reference: str) -> str:
    """Push the layout to ``HOST:PORT/REPOSITORY:TAG`` over plain HTTP and return the digest of its index.

    This stands apart from mlfn's own registry client, which the tests are about.
    """
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    connection = http.client.HTTPConnection(host, timeout=60)
    root = json.loads((layout / "index.json").read_text())["manifests"][0]
    index = json.loads(_blob(layout, root["digest"]))
    for entry in index["manifests"]:
        manifest = json.loads(_blob(layout, entry["digest"]))
        for blob in (manifest["config"], *manifest["layers"]):
            _push_blob(connection, repository, blob["digest"], _blob(layout, blob["digest"]))
        _push_manifest(connection, repository, entry["digest"], entry["mediaType"], _blob(layout, entry["digest"]))
    _push_manifest(connection, repository, tag, root["mediaType"], _blob(layout, root["digest"]))
    connection.close()
    return str(root["digest"])


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def _push_blob(connection: http.client.HTTPConnection, repository: str, digest: str, data: bytes) -> None:
    if _request(connection, "HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
        return
    status, headers = _request(connection, "POST", f"/v2/{repository}/blobs/uploads/")
    assert status == 202, f"the registry does not begin an upload: {status}"
    place = headers["location"].split("/v2/", 1)[1]
    joint = "&" if "?" in place else "?"
    status, _ = _request(connection, "PUT", f"/v2/{place}{joint}digest={digest}", data, "application/octet-stream")
    assert status == 201, f"the registry does not take {digest}: {status}"


def _push_manifest(connection: http.client.HTTPConnection, repository: str, name: str, kind: str, data: bytes) -> None:
    status, _ = _request(connection, "PUT", f"/v2/{repository}/manifests/{name}", data, kind)
    assert status == 201, f"the registry does not take the manifest {name}: {status}"


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, data: bytes = b"", kind: str = ""
) -> tuple[int, dict[str, Any]]:
    connection.request(method, path, data, {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    answer.read()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def main() -> int:
    """Make the layout, print its folder, push it where asked."""
    parser = argparse.ArgumentParser(description="Make the base image of the tests.")
    parser.add_argument("--push", metavar="HOST:PORT/REPOSITORY:TAG", help="push it over plain HTTP")
    parser.add_argument("--python", choices=sorted(SUITES), default="3.11", help="which Python (default: %(default)s)")
    asked = parser.parse_args()
    layout = build(asked.python)
    print(layout)
    if asked.push:
        print(push(layout, asked.push))
    return 0


if __name__ == "__main__":
    sys.exit(main())
