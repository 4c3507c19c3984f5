"""How values are written into the languages of the templates. Used by ``render`` as filters of the same names."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Callable

__all__ = ["FILTERS", "comment", "dockerfile", "shell", "systemd", "yaml"]

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*")


def yaml(value: object) -> str:
    """Return a text as a YAML scalar: plain where that is safe, else quoted as in JSON, which YAML takes."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def comment(value: object, indent: int = 0, width: int = 100) -> str:
    """Return a text as lines of a ``#`` comment, the first without its indent."""
    lines = textwrap.wrap(str(value), width - indent - 2, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(f"# {line}" for line in lines)


def systemd(value: object) -> str:
    """Return a text as one word of an ``Exec`` line: nothing in it is expanded by systemd."""
    escapes = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n"}
    return '"' + "".join(escapes.get(character, character) for character in str(value)) + '"'


def shell(value: object) -> str:
    """Return a text as one word of a POSIX shell: nothing in it is expanded."""
    return shlex.quote(str(value))


def dockerfile(value: object) -> str:
    """Return a text as one word of ENV or LABEL: nothing in it is expanded. Raises ValueError for a line's end."""
    text = str(value)
    if "\n" in text or "\r" in text:
        raise ValueError(f"a Dockerfile cannot hold a value of several lines: {text!r}")
    return '"' + "".join("\\" + character if character in '\\"$' else character for character in text) + '"'


FILTERS: dict[str, Callable[..., str]] = {
    "comment": comment,
    "dockerfile": dockerfile,
    "shell": shell,
    "systemd": systemd,
    "yaml": yaml,
}
