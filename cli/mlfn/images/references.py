"""Names of images as people write them: ``[host[:port]/]repository[:tag][@digest]``.

Pure text: what a name means, never whether the image exists. A name without a host is on Docker Hub, and its official
images lie under ``library/``, as every container tool reads it.
"""

from __future__ import annotations

import re

from mlfn.errors import InvalidInput
from mlfn.function import ImageRef

__all__ = ["DOCKER_HUB", "check_tag", "parse_destination", "parse_reference"]

DOCKER_HUB = "docker.io"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::\d{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_NAME = 255


def parse_reference(text: str, *, default_tag: str = "latest") -> ImageRef:
    """Read the name of an existing image. With neither tag nor digest the tag is ``default_tag``."""
    _refuse_login(text, digest=True)
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _invalid(text, f"digest {digest!r}", "sha256: and 64 lowercase hexadecimal digits after the @")
    registry, path = _split_host(rest, text)
    repository, colon, tag = path.partition(":")
    if colon:
        check_tag(tag, text)
    repository = _official(registry, repository)
    _check_repository(registry, repository, text)
    return ImageRef(registry, repository, tag or ("" if at else default_tag), digest)


def parse_destination(text: str, name: str) -> ImageRef:
    """Read where an image should go, ``REGISTRY[/repository]``, and put ``name`` below it; no tag, no digest yet."""
    _refuse_login(text, digest=False)
    trimmed = text.strip().rstrip("/")
    if "://" in trimmed:
        raise _invalid(text, repr(text), "a host without https://, such as registry.example.com/team")
    before, colon, tag = trimmed.rpartition(":")
    if colon and "/" in before:
        raise InvalidInput(
            f"image name {text!r}: a tag ({tag!r}) cannot be chosen; mlfn makes it of what is in the image",
            hints=(f"-r {before}  # the image becomes {before}/{name}:…",),
        )
    host, slash, path = trimmed.partition("/")
    if not _is_host(host) and not slash:
        raise _invalid(text, repr(text), "a host (with a dot or port, or localhost), as in registry.example.com/team")
    registry, prefix = (host, path) if _is_host(host) else (DOCKER_HUB, trimmed)
    repository = f"{prefix}/{name}" if prefix else name
    registry = _canonical(registry, text)
    _check_repository(registry, repository, text)
    return ImageRef(registry, repository, "", "")


def check_tag(tag: str, text: str = "") -> None:
    """Raise InvalidInput unless a registry takes ``tag``."""
    if not _TAG.fullmatch(tag):
        raise _invalid(text or tag, f"tag {tag!r}", "1 to 128 letters, digits, '_', '.' and '-', not first '.' or '-'")


def _split_host(rest: str, text: str) -> tuple[str, str]:
    """Part the host from the path: a first part with a dot or a port, or ``localhost``, is a host."""
    host, slash, path = rest.partition("/")
    if slash and _is_host(host):
        return _canonical(host, text), path
    return DOCKER_HUB, rest


def _is_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost" or part != part.lower()


def _canonical(host: str, text: str) -> str:
    if not _HOST.fullmatch(host):
        raise _invalid(text, f"host {host!r}", "a host name or address, with :port if not 443")
    lowered = host.lower()
    return DOCKER_HUB if lowered in {"index.docker.io", "registry-1.docker.io"} else lowered


def _official(registry: str, repository: str) -> str:
    return f"library/{repository}" if registry == DOCKER_HUB and repository and "/" not in repository else repository


def _check_repository(registry: str, repository: str, text: str) -> None:
    if not _REPOSITORY.fullmatch(repository):
        raise _invalid(
            text, f"repository {repository!r}", "lowercase letters and digits, parted by '/', '.', '_', '__' or '-'"
        )
    if len(registry) + 1 + len(repository) > _LONGEST_NAME:
        raise _invalid(text, f"{len(registry) + 1 + len(repository)} characters", f"at most {_LONGEST_NAME}")


def _refuse_login(text: str, *, digest: bool) -> None:
    """Raise InvalidInput where a login stands before the host, and do not quote it: names end in logs and images."""
    _, at, host = text.strip().rpartition("@")
    if at and not (digest and "/" not in host):
        name = host.partition("/")[0]
        raise InvalidInput(
            f"image name '****@{host}': a login does not work here; expected HOST[:PORT]/REPOSITORY alone",
            hints=(f"docker login {name}", f"or: podman login {name}"),
        )


def _invalid(text: str, seen: str, expected: str) -> InvalidInput:
    return InvalidInput(f"image name {text!r}: {seen} does not work; expected {expected}")
