"""Drive `wsk`: one command, its exit code, and both streams; the credential goes by the child's environment only."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from mlfn.errors import Conflict, InvalidInput, MissingExtra, MlfnError, NotAuthorised, NotFound, TimedOut, Unreachable
from mlfn.platforms.openwhisk.access import Access

__all__ = ["Ran", "Wsk"]

_WAIT_S = 400.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "TMPDIR")
BLOCKING_WAIT_ENDED = 202
_ERRORS: dict[int, type[MlfnError]] = {
    3: Unreachable,
    BLOCKING_WAIT_ENDED: TimedOut,
    144: InvalidInput,
    145: NotAuthorised,
    147: NotAuthorised,
    148: NotFound,
    153: Conflict,
    157: InvalidInput,
}
"""Exit codes: HTTP status less 256 where the server refused; 3: the host was not reached."""
_HINTS = {
    3: ("is the API host right? wsk property get --apihost", "a small one on this machine: mlfn openwhisk dev"),
    145: ("check WHISK_AUTH, or AUTH in ~/.wskprops",),
    173: ("wait until the next minute begins, or have the namespace's quota raised",),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """One command that has run. ``argv`` holds no secret: none is ever put there."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """Return the message of a failed command, without what every message repeats."""
        text = (self.err or self.out).strip()
        return text.split("\nRun 'wsk", 1)[0].removeprefix("error: ").strip()


@dataclass(frozen=True, slots=True)
class Wsk:
    """The binary, and whom it talks to."""

    binary: str
    access: Access

    @classmethod
    def find(cls, access: Access, named: str = "") -> Wsk:
        """Find the binary: the one that is named (``MLFN_WSK``), else on PATH. Raises MissingExtra."""
        found = shutil.which(named or "wsk")
        if found is None:
            raise MissingExtra(
                f"the OpenWhisk command line {named!r} is not there" if named else "wsk is not on PATH",
                hints=("install it from https://openwhisk.apache.org/downloads.html, or set MLFN_WSK to its path",),
            )
        return cls(found, access)

    def run(self, *arguments: str, timeout_s: float = _WAIT_S) -> Ran:
        """Run a command, whatever comes of it. Raises TimedOut."""
        argv = (self.binary, *arguments, *(("--insecure",) if self.access.insecure else ()))
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {
            "WSK_CONFIG_FILE": os.devnull,
            "WHISK_APIHOST": self.access.host,
            "WHISK_AUTH": self.access.auth,
        }
        try:
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"`{_shown(argv)}` has not ended within {timeout_s:g} s") from error
        return Ran(argv, done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str) -> Ran:
        """Run a command that has to succeed. Raises the error that its exit code stands for."""
        ran = self.run(*arguments)
        if ran.code:
            raise failure(ran, self.access.host)
        return ran


def failure(ran: Ran, host: str) -> MlfnError:
    """Return the error of a failed command: what was run, and what it told."""
    kind = _ERRORS.get(ran.code, MlfnError)
    return kind(
        f"{host}: {ran.told}",
        details=f"`{_shown(ran.argv)}` exited with {ran.code}\nstdout: {ran.out.strip()}\nstderr: {ran.err.strip()}",
        hints=_HINTS.get(ran.code, ()),
    )


def _shown(argv: tuple[str, ...]) -> str:
    words = ["wsk", *argv[1:]]
    return " ".join(word if len(word) <= 200 else f"{word[:100]}… ({len(word)} characters)" for word in words)
