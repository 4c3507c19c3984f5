"""Run outside tools, and keep what they said.

Nothing goes through a shell. Secrets travel in the environment or on standard input, never in arguments; whatever looks
like one is covered all the same before a command line is kept, since it ends in messages and logs. Called by the doors
to tools (container engines, ``wsk``); it knows none of them.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlfn.errors import MissingExtra

__all__ = ["Ended", "redacted", "run"]

COVERED = "****"
_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_NAMED = re.compile(
    r"""(?i)\b([\w-]*(?:password|passwd|secret|token|api[-_]?key|authorization)[\w-]*(?:["']?=|["']\s*:\s*|:\s+))\S+"""
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")


@dataclass(frozen=True, slots=True)
class Ended:
    """Hold what is left of a command: how it was called, without secrets, and what it said."""

    argv: tuple[str, ...]
    code: int
    """Its exit code; negative: the signal that ended it."""
    out: str = field(repr=False)
    """As it came, since it may be data to read. What is told of it to people goes through ``redacted``."""
    err: str
    """For people: without secrets."""

    def last_lines(self, count: int = 20) -> str:
        """Return the end of what it said: errors where there are any, else output."""
        said = self.err if self.err.strip() else redacted(self.out)
        return "\n".join(said.rstrip().splitlines()[-count:])

    def as_details(self, count: int = 200) -> str:
        """Return command line, exit code and the ends of both streams, for the details of an error."""
        import shlex

        parts = [f"$ {shlex.join(self.argv)}", f"exit code {self.code}"]
        for name, said in (("standard output", redacted(self.out)), ("standard error", self.err)):
            if said.strip():
                parts += [f"-- {name} --", *said.rstrip().splitlines()[-count:]]
        return "\n".join(parts)


def run(
    argv: Sequence[str],
    *,
    stdin: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hints: tuple[str, ...] = (),
) -> Ended:
    """Run a tool to its end and return what it said; ``environment`` is added to this process's own.

    Raise MissingExtra, with ``hints``, where there is no such tool. An interrupt ends the tool too.
    """
    surroundings = {**os.environ, **(environment or {})}
    try:
        with (stdin or Path(os.devnull)).open("rb") as source:
            done = subprocess.run(argv, stdin=source, capture_output=True, env=surroundings, check=False)
    except (FileNotFoundError, PermissionError) as error:
        reason = "is not on PATH" if isinstance(error, FileNotFoundError) else "may not be run"
        raise MissingExtra(f"{argv[0]} is needed, and {reason}", hints=hints) from error
    out, err = (said.decode(errors="replace") for said in (done.stdout, done.stderr))
    return Ended(tuple(redacted(word) for word in argv), done.returncode, out, redacted(err))


def redacted(text: str) -> str:
    """Cover what looks like a secret: users of URLs, values called password or token, credentials of a header."""
    for pattern, cover in ((_IN_URL, COVERED), (_BEARER, rf"\1 {COVERED}"), (_NAMED, rf"\g<1>{COVERED}")):
        text = pattern.sub(cover, text)
    return text
