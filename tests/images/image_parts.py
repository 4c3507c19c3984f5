"""What the tests build images of: bases of this machine's Python or of stubs, and wheels that hold next to nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import re
import struct
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
ELSEWHERE = "arm64" if HERE == "amd64" else "amd64"
MACHINES = {"amd64": 62, "arm64": 183}
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
WHEEL_TAGS = {"amd64": "manylinux_2_17_x86_64", "arm64": "manylinux_2_17_aarch64"}
GLIBC = ("libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1")
PACKAGES = ("onnxruntime", "numpy", "httptools", "uvloop", "orjson")
MINOR = f"3.{sys.version_info[1]}"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def elf(architecture: str, *, interpreter: str = "/lib/ld.so", debug_bytes: int = 0, needed: str = "") -> bytes:
    """Make the least ELF file that names an interpreter, and a library to load where one is asked for."""
    names = interpreter.encode() + b"\0"
    strings = b"\0" + needed.encode() + b"\0"
    dynamic = struct.pack("<QQQQQQ", 5, 0x1000, 1, 1, 0, 0) if needed else b""
    start = 64 + 3 * 56
    where_names, where_strings = start, start + len(names)
    where_dynamic = where_strings + len(strings)
    loaded = where_dynamic + len(dynamic)
    segments = struct.pack("<IIQQQQQQ", 3, 4, where_names, 0, 0, len(names), len(names), 1)
    segments += struct.pack("<IIQQQQQQ", 1, 4, where_strings, 0x1000, 0, len(strings), len(strings), 1)
    kind = 2 if needed else 0
    segments += struct.pack("<IIQQQQQQ", kind, 4, where_dynamic, 0, 0, len(dynamic), len(dynamic), 1)
    section_names = b"\0.text\0.debug\0.shstrtab\0"
    debug_at = loaded
    names_at = debug_at + debug_bytes
    table_at = names_at + len(section_names)

    def section(name: int, kind: int, flags: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name, kind, flags, 0, offset, size, 0, 0, 1, 0)

    sections = [
        section(0, 0, 0, 0, 0),
        section(1, 1, 2, start, loaded - start),
        section(7, 1, 0, debug_at, debug_bytes),
        section(14, 3, 0, names_at, len(section_names)),
    ]
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, MACHINES[architecture], 1, 0, 64, table_at, 0, 64, 56, 3, 64, 4, 3)
    body = head + segments + names + strings + dynamic
    assert len(body) == loaded
    return body + b"D" * debug_bytes + section_names + b"".join(sections)


@dataclass(frozen=True)
class Layer:
    """Files, links and whiteouts of one layer of a base."""

    files: Mapping[str, bytes | Path]
    links: Mapping[str, str]


def stub_base(architecture: str, python: str = MINOR, *, glibc: str = "2.36", loader: str = "/lib/ld.so") -> Layer:
    """Return a base whose Python cannot be run: enough to be built upon for another processor."""
    folder = f"usr/lib/{TRIPLETS[architecture]}"
    files: dict[str, bytes | Path] = {
        f"usr/local/bin/python{python}": elf(architecture, interpreter=loader),
        f"usr/local/lib/python{python}/os.py": b"name = 'posix'\n",
        f"usr/local/lib/python{python}/json/__init__.py": b"def loads(text): return text\n",
        f"{folder}/libc.so.6": elf(architecture) + b"GNU C Library stable release version %s." % glibc.encode(),
    }
    return Layer(files, {"usr/local/bin/python3": f"python{python}"})


def real_base() -> Layer:
    """Return a base with the Python that runs the tests, its standard library and the system's libraries."""
    program = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    files: dict[str, bytes | Path] = {f"usr/local/bin/python{MINOR}": program}
    left_out = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "site-packages", "ensurepip"}
    for path in sorted(stdlib.rglob("*")):
        parts = path.relative_to(stdlib).parts
        unwanted = left_out.intersection(parts) or parts[-1].startswith("_tkinter") or parts[0].startswith("config-")
        if path.suffix in (".py", ".so") and not unwanted:
            files[f"usr/local/lib/python{MINOR}/{'/'.join(parts)}"] = path
    folder = f"usr/lib/{TRIPLETS[HERE]}"
    extensions = [path for path in files.values() if isinstance(path, Path) and path.suffix == ".so"]
    libraries = _libraries([program, *extensions])
    libraries |= _libraries_by_name(("libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", *GLIBC))
    files.update({f"{folder}/{name}": path for name, path in libraries.items() if not name.startswith("ld-")})
    loader = next(name for name in libraries if name.startswith("ld-"))
    place = "lib64" if HERE == "amd64" else "lib"
    files[f"{place}/{loader}"] = files[f"{folder}/{loader}"] = libraries[loader]
    return Layer(files, {"usr/local/bin/python3": f"python{MINOR}"})


def write_layout(folder: Path, bases: Mapping[str, Iterable[Layer]], env: Mapping[str, str] | None = None) -> Path:
    """Write bases by architecture as an OCI layout with an index."""
    (folder / "blobs" / "sha256").mkdir(parents=True)

    def put(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    manifests = []
    for architecture, layers in bases.items():
        tars = [tar_of(layer) for layer in layers]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": [f"{k}={v}" for k, v in (env or {}).items()], "Cmd": ["python3"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in tars]},
        }
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [put(gzip.compress(each, 1, mtime=0), kind) for each in tars],
        }
        entry = put(json.dumps(manifest).encode(), MANIFEST)
        manifests.append({**entry, "platform": {"architecture": architecture, "os": "linux"}})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    named = {**put(json.dumps(index).encode(), INDEX), "annotations": {"org.opencontainers.image.ref.name": "base"}}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return folder


def tar_of(layer: Layer) -> bytes:
    """Return a layer as a tar."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in layer.files.items():
            entry = tarfile.TarInfo(name)
            data = content.read_bytes() if isinstance(content, Path) else content
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
        for name, target in layer.links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return plain.getvalue()


def write_wheel(folder: Path, name: str, files: Mapping[str, bytes], tag: str = "py3-none-any") -> Path:
    """Write a wheel of version 1.0."""
    path = folder / f"{name}-1.0-{tag}.whl"
    info = f"{name}-1.0.dist-info"
    held = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nLicense: MIT\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{info}/licenses/LICENSE": b"be kind\n",
    }
    record = "".join(f"{each},,\n" for each in (*held, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in {**held, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(zipfile.ZipInfo(each, (1980, 1, 1, 0, 0, 0)), content)
    return path


def write_wheelhouse(folder: Path) -> Path:
    """Write wheels of the five packages: with a library for each architecture, a test suite, stubs and headers."""
    folder.mkdir()
    for name in PACKAGES:
        files = {
            f"{name}/__init__.py": f"NAME = {name!r}\n".encode(),
            f"{name}/__init__.pyi": b"NAME: str\n",
            f"{name}/tests/test_it.py": b"assert True\n",
            f"{name}/include/it.h": b"int it;\n",
        }
        if name != "numpy":
            write_wheel(folder, name, files)
            continue
        for architecture, tag in WHEEL_TAGS.items():
            library = {"numpy/core.so": elf(architecture, debug_bytes=200_000)}
            write_wheel(folder, name, {**files, **library}, f"py3-none-{tag}")
    return folder


def write_lock(wheels: Path, lock: Path, packages: Iterable[str] = PACKAGES) -> Path:
    """Pin the wheels of a folder by their hashes. Each lock is another, so that no layer of another test serves it."""
    lines = [f"# {lock}"]
    for name in packages:
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(wheels.glob(f"{name}-*.whl"))]
        lines.append(" ".join((f"{name}==1.0", *(f"--hash=sha256:{each}" for each in hashes))))
    lock.write_text("\n".join(lines) + "\n")
    return lock


def _libraries(programs: Iterable[Path]) -> dict[str, Path]:
    """Return what ldd says that programs load."""
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
    found = re.findall(r"^\s+(?:(\S+) => )?(/\S+) \(0x", done.stdout, re.MULTILINE)
    return {(name or path).rpartition("/")[2]: Path(path) for name, path in found}


def _libraries_by_name(names: Iterable[str]) -> dict[str, Path]:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found: dict[str, Path] = {}
    for name in names:
        for path in re.findall(rf"^\s+{re.escape(name)} .*=> (\S+)$", listed, re.MULTILINE):
            if TRIPLETS[HERE] in path or "lib64" in path:
                found.setdefault(name, Path(path))
    return found
