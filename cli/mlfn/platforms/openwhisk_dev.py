"""Run the small OpenWhisk of ``mlfn_local`` in the foreground."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlfn.errors import Conflict, MlfnError

__all__ = ["DevOptions", "run"]

NAMESPACE = "guest"


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What `mlfn openwhisk dev` was asked for; memory in MB, ``pause_grace`` and ``idle`` in seconds."""

    engine: str
    models: dict[str, Path]
    state_dir: Path
    host: str
    port: int
    memory: int
    most_memory: int
    concurrency: int
    per_minute: int
    pause_grace: int
    idle: int


def run(options: DevOptions, say: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM. Raises Conflict when the port is taken."""
    listener = _listen(options.host, options.port)
    host, port = listener.getsockname()[:2]
    key = _credential(options.state_dir)
    props = options.state_dir / "wskprops"
    _write_secret(props, f"APIHOST=http://{host}:{port}\nAUTH={key}\nNAMESPACE={NAMESPACE}\n")
    return asyncio.run(_serve(options, listener, key, say))


async def _serve(options: DevOptions, listener: socket.socket, key: str, say: Callable[[str], None]) -> int:
    from mlfn_local.openwhisk.containers import Containers
    from mlfn_local.openwhisk.docker import DockerContainers
    from mlfn_local.openwhisk.processes import ProcessContainers
    from mlfn_local.openwhisk.serving import assemble, serve
    from mlfn_local.openwhisk.settings import ServerSettings

    host, port = listener.getsockname()[:2]
    api_host = f"http://{host}:{port}"
    containers: Containers = (
        ProcessContainers(options.models, api_host)
        if options.engine == "process"
        else DockerContainers(options.engine, api_host, pool_mb=options.memory)
    )
    settings = ServerSettings(
        invocations_per_minute=options.per_minute,
        fires_per_minute=options.per_minute,
        most_memory_mb=options.most_memory,
        most_concurrency=options.concurrency,
        user_memory_mb=options.memory,
        pause_grace_ms=options.pause_grace * 1000,
        idle_container_ms=options.idle * 1000,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    say(f"OpenWhisk's API is at {api_host}; actions run in {options.engine} containers of {NAMESPACE!r}.")
    say(f"For wsk and mlfn: export WSK_CONFIG_FILE={options.state_dir / 'wskprops'}")
    await serve(assemble(containers, settings, {key: NAMESPACE}), settings, listener, stop)
    return 0


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise Conflict(
            f"{host}:{port} cannot be listened on: {error.strerror}",
            hints=(f"mlfn openwhisk dev --port {port + 1}",),
        ) from error
    listener.setblocking(False)
    return listener


def _credential(folder: Path) -> str:
    """Return this machine's credential, made when there is none; only its owner can read it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = folder / "auth"
        if kept.is_file():
            return kept.read_text().strip()
        key = f"{secrets.token_hex(16)}:{secrets.token_urlsafe(48)}"
        _write_secret(kept, key)
    except OSError as error:
        raise MlfnError(
            f"{folder} cannot be written: {error.strerror}", hints=("mlfn openwhisk dev --state-dir DIR",)
        ) from error
    return key


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
