"""Read and show the kinds of values that settings have: sizes, durations, whole numbers, names.

Every source of a setting (flag, environment, file) gives text, and every kind has one reader for it, so a value means
the same wherever it is written. A reader raises :class:`BadValue`; it knows neither the setting's name nor its source.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlfn.nearest import nearest

__all__ = [
    "FUNCTION_NAME",
    "BadValue",
    "Kind",
    "architectures",
    "choice",
    "cores",
    "corrected_name",
    "duration",
    "env_variables",
    "flag",
    "function_name",
    "number",
    "object_annotations",
    "object_labels",
    "object_name",
    "path",
    "secret_variables",
    "show",
    "size",
    "text",
    "url",
    "warm",
    "whole",
    "without_login",
]

_SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LARGEST = 2**62
"""What is stored and sent has 64 bits, with a sign."""
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
FUNCTION_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOGIN = re.compile(r"(?:(?<=://)|^)[^\s/:]+:(?!//)\S+@(?!sha256:)|(?<=://)[^\s/]+@")
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[-._A-Za-z0-9]{1,253}")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_OBJECT_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")


class BadValue(ValueError):
    """Text that is not of its kind: what was expected and, where there is one, the corrected value."""

    def __init__(self, expected: str, *, corrected: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.corrected = corrected


@dataclass(frozen=True, slots=True)
class Kind:
    """Hold a kind of value: its reader, how it is shown, and its name in help texts."""

    name: str
    """As it stands in ``--help``, such as ``SIZE``."""
    read: Callable[[str], Any]
    show: Callable[[Any], str]
    expects: str
    """What is accepted, as it stands in the reference."""
    read_pairs: Callable[[Iterable[str]], dict[str, str]] | None = None
    """How a kind of pairs reads them one by one, as flags and files give them."""


def text(name: str = "TEXT", expects: str = "text") -> Kind:
    """Return the kind of text that is taken as it stands; that it is not empty, the resolver sees to."""
    return Kind(name, str.strip, str, expects)


def url(expects: str, *schemes: str) -> Kind:
    """Return the kind of addresses of one of ``schemes``; a login in one is taken, and never shown."""

    def read(raw: str) -> str:
        scheme, apart, rest = raw.strip().partition("://")
        if scheme.lower() not in schemes or not apart or not rest.strip("/"):
            raise BadValue(f"expected {expects}")
        return raw.strip()

    return Kind("URL", read, without_login, expects)


def without_login(text: str) -> str:
    """Cover the login before the host of a URL or an image's name, as in ``user:password@host``."""
    return _LOGIN.sub("****@", text)


def path() -> Kind:
    """Return the kind of file and folder names; ``~`` is the home folder."""
    return text("PATH", "a path")


def choice(*allowed: str) -> Kind:
    """Return the kind of a closed set of words."""
    expects = f"one of {', '.join(allowed)}"

    def read(raw: str) -> str:
        if raw not in allowed:
            raise BadValue(f"expected {expects}", corrected=nearest(raw, allowed) or "")
        return raw

    return Kind("|".join(allowed), read, str, expects)


def whole(least: int, most: int | None = None, name: str = "N") -> Kind:
    """Return the kind of whole numbers from ``least`` to ``most``."""
    expects = f"a whole number from {least} to {most}" if most is not None else f"a whole number, at least {least}"

    def read(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            raise BadValue(f"expected {expects}") from None
        if value < least or value > (_LARGEST if most is None else most):
            raise BadValue(f"expected {expects}")
        return value

    return Kind(name, read, str, expects)


def number(least: float, most: float, expects: str) -> Kind:
    """Return the kind of finite numbers from ``least`` to ``most``."""

    def read(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            raise BadValue(f"expected {expects}") from None
        if not math.isfinite(value) or not least <= value <= most:
            raise BadValue(f"expected {expects}")
        return value

    return Kind("NUMBER", read, lambda value: f"{value:g}", expects)


def flag() -> Kind:
    """Return the kind of yes and no."""

    def read(raw: str) -> bool:
        if raw.lower() not in _TRUE + _FALSE:
            raise BadValue("expected true or false")
        return raw.lower() in _TRUE

    return Kind("BOOLEAN", read, lambda value: "true" if value else "false", "true or false")


def size(least: int = 0, *, or_none: bool = False) -> Kind:
    """Return the kind of sizes in bytes: ``512Mi``, ``1G``, ``1073741824``; with ``or_none``, 0 stands for none."""
    expects = "a size such as 512Mi or 1G" + (f", at least {_show_size(least)}" if least else "")
    expects += ", or 0 for none" if or_none else ""

    def read(raw: str) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKMGT]i?)?[bB]?", raw.strip())
        if not match:
            raise BadValue(f"expected {expects}", corrected=_corrected_size(raw))
        unit = match[2] or ""
        value = float(match[1]) * _SIZES["k" if unit == "K" else "Ki" if unit == "ki" else unit]
        if value > _LARGEST or (value < least and not (or_none and value == 0)):
            raise BadValue(f"expected {expects}")
        return int(value)

    return Kind("SIZE", read, _show_size, expects)


def duration(least_s: float, most_s: float, *, seconds_only: bool = False) -> Kind:
    """Return the kind of durations in seconds: ``60s``, ``2m``, ``1.5h``, ``500ms``; a bare number is seconds."""
    whole_seconds = "whole seconds, " if seconds_only else ""
    expects = f"a duration such as 60s or 2m: {whole_seconds}{_show_duration(least_s)} to {_show_duration(most_s)}"

    def read(raw: str) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?", raw.strip())
        value = float(match[1]) * _DURATIONS[match[2] or "s"] if match else math.nan
        if not least_s <= value <= most_s or (seconds_only and not value.is_integer()):
            raise BadValue(f"expected {expects}")
        return int(value) if seconds_only else value

    return Kind("DURATION", read, _show_duration, expects)


def function_name() -> Kind:
    """Return the kind of function names: DNS labels, as Kubernetes services want them."""
    expects = "lower-case letters, digits and '-', starting with a letter, at most 63 characters"

    def read(raw: str) -> str:
        if not FUNCTION_NAME.fullmatch(raw):
            raise BadValue(f"expected {expects}", corrected=corrected_name(raw))
        return raw

    return Kind("NAME", read, str, expects)


def corrected_name(raw: str) -> str:
    """Return the function name nearest to any text."""
    from unicodedata import normalize

    ascii_only = normalize("NFKD", raw).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")
    if not words or not words[0].isalpha():
        words = f"model-{words}".strip("-")
    return words[:63].rstrip("-")


def object_name(name: str = "NAME", what: str = "an object's name", *, longest: int = 253, dots: bool = True) -> Kind:
    """Return the kind of names of a cluster's objects: what Kubernetes takes no other way is not sent."""
    signs = "digits, '-' and '.'" if dots else "digits and '-'"
    expects = f"{what} of lower-case letters, {signs}, at most {longest}"

    def read(raw: str) -> str:
        if len(raw) > longest or not _OBJECT_NAME.fullmatch(raw) or (not dots and "." in raw):
            raise BadValue(f"expected {expects}")
        return raw

    return Kind(name, read, str, expects)


def env_variables() -> Kind:
    """Return the kind of environment variables: several ``KEY=VALUE``, quoted as in a shell."""
    return _pairs_kind("KEY=VALUE", "KEY=VALUE, KEY of letters, digits and '_'", _VARIABLE)


def secret_variables() -> Kind:
    """Return the kind of environment variables that come out of secrets: several ``NAME=SECRET/KEY``."""
    return _pairs_kind("NAME=SECRET/KEY", "NAME=SECRET/KEY, NAME of letters, digits and '_'", _VARIABLE, _SECRET)


def object_labels() -> Kind:
    """Return the kind of Kubernetes labels: several ``KEY=VALUE``."""
    expects = "KEY=VALUE, VALUE of at most 63 letters and digits, with '-', '_' and '.' between"
    return _pairs_kind("KEY=VALUE", expects, _OBJECT_KEY, _LABEL)


def object_annotations() -> Kind:
    """Return the kind of Kubernetes annotations: several ``KEY=VALUE``, quoted as in a shell."""
    return _pairs_kind("KEY=VALUE", "KEY=VALUE, KEY such as example.com/owner", _OBJECT_KEY)


def _pairs_kind(name: str, expects: str, key: re.Pattern[str], value: re.Pattern[str] | None = None) -> Kind:
    def read_pairs(pairs: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for pair in pairs:
            left, equals, right = pair.partition("=")
            if not equals or not key.fullmatch(left) or (value and not value.fullmatch(right)):
                raise BadValue(f"expected {expects}, got {pair!r}")
            found[left] = right
        return found

    def read(raw: str) -> dict[str, str]:
        try:
            pairs = shlex.split(raw)
        except ValueError as error:
            raise BadValue(f"expected {expects}: {str(error).lower()}") from None
        return read_pairs(pairs)

    return Kind(name, read, _show_pairs, f"{expects}; several separated by spaces", read_pairs)


def cores() -> Kind:
    """Return the kind of processor shares, in thousandths of a core: ``500m``, ``0.5``, ``2``; 0 stands for none."""
    expects = "cores such as 500m, 0.5 or 2, or 0 for none"

    def read(raw: str) -> int:
        match = re.fullmatch(r"(\d{1,9})m|(\d{1,6}(?:\.\d{1,3})?)", raw)
        if not match:
            raise BadValue(f"expected {expects}")
        return int(match[1]) if match[1] else round(float(match[2]) * 1000)

    return Kind("CORES", read, lambda value: f"{value}m" if value else "0", expects)


def architectures() -> Kind:
    """Return the kind of processor lists: ``amd64``, ``arm64`` or both, kept in the order of the alphabet."""
    expects = "amd64, arm64 or amd64,arm64"

    def read(raw: str) -> str:
        found = {each.strip() for each in raw.split(",")}
        if not found <= {"amd64", "arm64"}:
            near = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "arm64/v8": "arm64"}
            corrected = {near.get(each, each) for each in found if each}
            known = corrected and corrected <= {"amd64", "arm64"}
            raise BadValue(f"expected {expects}", corrected=",".join(sorted(corrected)) if known else "")
        return ",".join(sorted(found))

    return Kind("ARCH[,ARCH]", read, str, expects)


def warm() -> Kind:
    """Return the kind of warm plans: ``off``, ``auto`` or the period of pings in whole seconds."""
    period = duration(1, 3600, seconds_only=True)
    expects = "off, auto, or the period of warm pings such as 45s"

    def read(raw: str) -> str:
        if raw in ("off", "auto"):
            return raw
        try:
            return f"{period.read(raw)}s"
        except BadValue:
            raise BadValue(f"expected {expects}") from None

    return Kind("auto|off|PERIOD", read, str, expects)


def show(value: object) -> str:
    """Return a setting's value as text for a reader that takes any kind."""
    return "true" if value is True else "false" if value is False else str(value)


def _show_pairs(pairs: Mapping[str, str]) -> str:
    return " ".join(shlex.quote(f"{key}={value}") for key, value in sorted(pairs.items()))


def _show_size(value: int) -> str:
    for unit in ("Ti", "Gi", "Mi", "Ki", "T", "G", "M", "k"):
        if value and value % _SIZES[unit] == 0:
            return f"{value // _SIZES[unit]}{unit}"
    return str(value)


def _corrected_size(raw: str) -> str:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)", raw.strip())
    if not match:
        return ""
    known = {unit.lower(): unit for unit in ("k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti")}
    unit = known.get(match[2].lower().removesuffix("b"))
    return f"{match[1]}{unit}" if unit else ""


def _show_duration(seconds: float) -> str:
    for unit, factor, least in (("h", 3600, 3600), ("m", 60, 120), ("s", 1, 1)):
        # 60 s, not 1 m: it is what the documents of Knative say.
        if seconds >= least and seconds % factor == 0:
            return f"{seconds / factor:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"
