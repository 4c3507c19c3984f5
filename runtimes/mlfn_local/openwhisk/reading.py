"""Read what a client sends: names, parameters, limits, executables. Raises Refused with OpenWhisk's texts."""

from __future__ import annotations

import json
import re
from typing import Any

from mlfn_local.openwhisk.entities import Exec, Limits, Pairs
from mlfn_local.openwhisk.refusals import Refused, malformed
from mlfn_local.openwhisk.settings import ServerSettings

__all__ = [
    "check_name",
    "json_size",
    "read_exec",
    "read_limits",
    "read_object",
    "read_pairs",
    "read_reference",
    "stored_image",
]

_NAME = re.compile(r"(?:\w|\w[\w@ .&-]*[\w@.&-]+)\Z", re.ASCII)
_NAME_MOST = 256
_TOO_DEEP = "JSON input was nested more deeply than the configured limit of maxNesting = 1000"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?P<name>(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@[A-Za-z0-9+._-]+:[0-9a-fA-F]{32,})?\Z"
)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty body is an empty object."""
    value = read_json(body) if body else {}
    if not isinstance(value, dict):
        raise malformed("JSON object expected")
    return value


def read_json(body: bytes) -> Any:
    """Return the JSON value of a body."""
    text = body.decode(errors="replace")

    def refuse(word: str) -> None:
        raise json.JSONDecodeError("no JSON value", text, text.find(word))

    try:
        return json.loads(text, parse_constant=refuse)  # NaN and Infinity are Python's own
    except ValueError as error:
        raise malformed(_json_problem(text, error)) from None
    except RecursionError:
        raise malformed(_TOO_DEEP) from None


def _json_problem(text: str, error: ValueError) -> str:
    """Say where the text stops being JSON, as OpenWhisk's parser does."""
    at = error.pos if isinstance(error, json.JSONDecodeError) else 0
    if at >= len(text):
        return f"Unexpected end-of-input at input index {at} (line 1, position {at + 1}), expected JSON Value:\n{text}"
    wanted = "'\"'" if "property name" in str(error) else "JSON Value"
    line = text.count("\n", 0, at) + 1
    start = text.rfind("\n", 0, at) + 1
    shown = text[start:].split("\n", 1)[0]
    where = f"(line {line}, position {at - start + 1})"
    return (
        f"Unexpected character '{text[at]}' at input index {at} {where}, expected {wanted}:\n"
        f"{shown}\n{' ' * (at - start)}^\n"
    )


def check_name(name: str) -> str:
    """Return an entity's name if it may be one."""
    if len(name) > _NAME_MOST or not _NAME.match(name):
        raise Refused(400, "The name of the entity contains illegal characters.")
    return name


def read_pairs(value: Any, what: str = "parameters") -> tuple[dict[str, Any], frozenset[str]]:
    """Return ``[{"key", "value"[, "init"]}]`` as a mapping, and the keys that are for ``/init``."""
    if not isinstance(value, list) or not all(isinstance(item, dict) and "key" in item for item in value):
        raise malformed(f"{what} malformed!")
    pairs = {str(item["key"]): item.get("value") for item in value}
    return pairs, frozenset(str(item["key"]) for item in value if item.get("init") is True)


def json_size(pairs: Pairs) -> int:
    """Return the size of parameters in bytes as the limit counts it: keys and values without framing."""
    dumped = (len(key.encode()) + len(_compact(value)) for key, value in pairs.items())
    return sum(dumped)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def read_limits(value: Any, kept: Limits, settings: ServerSettings) -> Limits:
    """Return ``kept`` with the limits that a client gave."""
    if not isinstance(value, dict):
        raise malformed("limits malformed!")
    timeout = _ranged(value, "timeout", (kept.timeout_ms, settings.least_timeout_ms, settings.most_timeout_ms))
    memory = _ranged(value, "memory", (kept.memory_mb, settings.least_memory_mb, settings.most_memory_mb))
    logs = _ranged(value, "logs", (kept.logs_mb, 0, settings.most_logs_mb))
    concurrency = _ranged(value, "concurrency", (kept.concurrency, 1, settings.most_concurrency))
    return Limits(timeout, memory, logs, concurrency)


_LIMITS = {
    "timeout": ("duration", " milliseconds"),
    "memory": ("memory size", " MB"),
    "logs": ("log size", " MB"),
    "concurrency": ("concurrency", ""),
}


def _ranged(given: dict[str, Any], key: str, bounds: tuple[int, int, int]) -> int:
    """Return the limit of a key; ``bounds`` is (value when none is given, least, most)."""
    kept, least, most = bounds
    value = given.get(key)
    if value is None:
        return kept
    name, unit = _LIMITS[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(f"{name} malformed")
    if value < least:
        raise Refused(400, f"requirement failed: {name} {value}{unit} below allowed threshold of {least}{unit}")
    if value > most:
        raise Refused(400, f"requirement failed: {name} {value}{unit} exceeds allowed threshold of {most}{unit}")
    return value


def read_exec(value: Any, namespace: str, settings: ServerSettings) -> Exec:
    """Return the executable that a client describes."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise malformed("kind is missing")
    kind = _resolved_kind(value["kind"], settings)
    if kind == "sequence":
        components = value.get("components")
        if not isinstance(components, list) or not all(isinstance(name, str) for name in components):
            raise malformed("'components' must be defined for sequence kind")
        resolved = tuple("/" + "/".join(read_reference(name, namespace)) for name in components)
        return Exec(kind, components=resolved)
    code = value.get("code") or ""
    main = value.get("main") or ""
    if not isinstance(code, str) or not isinstance(main, str):
        raise malformed("if defined, 'code' and 'main' must be strings")
    image = _read_image(value.get("image")) if kind == "blackbox" else ""
    if kind != "blackbox" and not code:
        raise malformed(f"'code' must be a string or attachment object defined in 'exec' for '{kind}' actions")
    size = len(code.encode()) + len(image)
    if size > settings.most_exec_bytes:
        raise Refused(413, f"exec larger than allowed: {size} > {settings.most_exec_bytes} bytes.")
    return Exec(kind, image, code, main, binary=_is_base64(code))


def _resolved_kind(kind: str, settings: ServerSettings) -> str:
    family, _, version = kind.partition(":")
    if version == "default":
        kind = next((name for name, _ in settings.kinds if name.partition(":")[0] == family), kind)
    known = (*(name for name, _ in settings.kinds), "sequence", "blackbox")
    if kind not in known:
        words = ", ".join(f"'{name}'" for name in known)
        raise malformed(f"The specified runtime '{kind}' is not supported by this platform. Valid values are: {words}.")
    return kind


def _read_image(image: Any) -> str:
    if not isinstance(image, str) or not image:
        raise malformed("'image' must be a string defined in 'exec' for 'blackbox' actions")
    if not _IMAGE.match(image):
        raise malformed("could not parse image name")
    return stored_image(image)


def stored_image(image: str) -> str:
    """Return an image name as OpenWhisk keeps it: **without its digest**."""
    return image.partition("@")[0]


def _is_base64(code: str) -> bool:
    text = code.strip()
    return bool(text) and bool(_BASE64.match(text))


def read_reference(name: str, namespace: str) -> tuple[str, ...]:
    """Return the parts of ``/ns/[package/]name`` or ``[package/]name`` with ``_`` resolved."""
    absolute = name.startswith("/")
    parts = name.strip("/").split("/")
    if not absolute:
        parts = [namespace, *parts]
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise malformed(f"'{name}' is not a valid fully qualified entity name")
    first = namespace if parts[0] == "_" else parts[0]
    return (first, *parts[1:])
