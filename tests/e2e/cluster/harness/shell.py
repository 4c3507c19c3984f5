"""Running commands, waiting, and saying what happens."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class ClusterError(Exception):
    """What failed, and what to do about it."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return its output; a failure carries what it said."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"{shlex.join(words)}\nexit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Run a command whose failure is an answer, or a clean-up whose object may be gone."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True).returncode == 0


def wait_for(what: str, ready: Callable[[], bool], *, within_s: float = 120) -> None:
    started = time.monotonic()
    while not ready():
        if time.monotonic() - started > within_s:
            raise ClusterError(f"{what}: not ready after {within_s:.0f} s; see the logs folder")
        time.sleep(0.2)
    say(f"  {what} ({time.monotonic() - started:.1f} s)")
