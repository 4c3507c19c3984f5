"""Drive the local platform through its command line, with a state folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
from prepare import Home


@dataclass(frozen=True)
class LocalPlatform:
    """Run mlfn against one state folder, pinned to the server's core when asked."""

    home: Home
    state: Path
    pinned: bool

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run a command and return its JSON."""
        pin = ["taskset", "-c", str(machine.SERVER_CORE)] if self.pinned else []
        done = subprocess.run(
            [*pin, self.home.mlfn, *arguments, "-o", "json"],
            env={**os.environ, "MLFN_STATE_DIR": str(self.state)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"mlfn {' '.join(arguments)}: exit {done.returncode}: {done.stderr[-2000:]}")
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def down(self) -> None:
        """Stop the service, if it runs."""
        env = {**os.environ, "MLFN_STATE_DIR": str(self.state)}
        subprocess.run([self.home.mlfn, "local", "down"], env=env, capture_output=True, check=False)

    def pids(self) -> list[int]:
        """Return service, warm parent and instances."""
        return machine.tree(int(self.run("local", "status")["pid"]))

    def wait_for_zero(self, names: Sequence[str], patience_s: float = 180.0) -> None:
        """Wait until none of the functions has an instance."""
        end = time.monotonic() + patience_s
        while any(self.run("describe", name)["instances"] for name in names):
            if time.monotonic() > end:
                raise TimeoutError(f"{names} still have instances after {patience_s} s")
            time.sleep(0.5)


@contextmanager
def local_platform(home: Home, *, pinned: bool = True) -> Iterator[LocalPlatform]:
    """Give a platform on which nothing is deployed, and take it away after the block."""
    with tempfile.TemporaryDirectory(prefix="mlfn-bench-") as folder:
        platform = LocalPlatform(home, Path(folder) / "state", pinned)
        try:
            yield platform
        finally:
            platform.down()
