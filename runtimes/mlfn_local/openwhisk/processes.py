"""Containers that are processes of mlfn's own runtime: an image's name stands for a model on this machine.

No engine and no isolation: for trying actions on a laptop. Pause and resume stop and continue the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from mlfn_local.openwhisk.calling import post
from mlfn_local.openwhisk.containers import CannotStart, Wanted
from mlfn_policies.openwhisk_proxy import Answer, Silence, Status

__all__ = ["ProcessContainers"]

_SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
_KEPT = ("PATH", "LANG", "LC_ALL", "HOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "TMPDIR")


class _Process:
    """One runtime process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port
        self._lines: list[str] = []
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            if text != _SENTINEL:
                self._lines.append(text)

    async def post(self, path: str, body: bytes, timeout_s: float) -> Answer | Silence:
        """Send ``/init`` or ``/run``; a process that has ended is a broken connection."""
        call = asyncio.ensure_future(post(("127.0.0.1", self._port), path, body, timeout_s))
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({call, ended}, return_when=asyncio.FIRST_COMPLETED)
            return call.result() if call.done() else Silence.DROPPED
        finally:
            for task in (call, ended):
                task.cancel()

    async def logs(self, most_bytes: int) -> tuple[str, ...]:
        """Return the lines written since the last time, up to ``most_bytes`` of text."""
        lines, self._lines = self._lines, []
        kept, room = list[str](), most_bytes
        for line in lines:
            room -= len(line) + 1
            if room < 0:
                break
            kept.append(line)
        return tuple(kept)

    async def pause(self) -> None:
        """Stop the process where it stands."""
        self._signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let the process go on."""
        self._signal(signal.SIGCONT)

    async def destroy(self) -> None:
        """End the process at once, as a container is killed."""
        self._signal(signal.SIGKILL)
        await self._process.wait()
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class ProcessContainers:
    """Start runtime processes.

    ``models`` maps image names, with or without their tags, to ONNX files; ``api_host`` is the server's address.
    """

    def __init__(self, models: Mapping[str, Path], api_host: str) -> None:
        self._models = dict(models)
        self._api_host = api_host

    async def create(self, wanted: Wanted) -> _Process:
        """Start the model that an image's name stands for. Raises CannotStart where there is none."""
        name, _, tag = wanted.image.rpartition(":")
        repository = name if name and "/" not in tag else wanted.image
        model = self._models.get(wanted.image) or self._models.get(repository)
        if model is None:
            raise CannotStart(Status.DEVELOPER_ERROR, f"Failed to pull container image '{wanted.image}'.")
        port = _free_port()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {
            "MLFN_MODEL_PATH": str(model),
            "MLFN_NAME": wanted.name.partition("_")[2].partition("@")[0] or "model",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "__OW_API_HOST": self._api_host,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mlfn_runtime",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return _Process(process, port)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
