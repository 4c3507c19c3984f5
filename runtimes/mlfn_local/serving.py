"""The service as a process: its lock, its log, its signals, and the report to the command that started it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import sys
from pathlib import Path

import uvloop

from mlfn_local import logs, wire
from mlfn_local.errors import LocalError
from mlfn_local.instance import open_log
from mlfn_local.paths import StatePaths
from mlfn_local.service import Service, ServiceSettings
from mlfn_runtime import __version__

__all__ = ["serve"]

_log = logging.getLogger("mlfn_local")

LOG_CHECK_S = 10.0


def serve(options: argparse.Namespace) -> int:
    """Serve until stopped; return the exit code. The command line is that of ``__main__``."""
    paths = StatePaths(Path(options.state_dir))
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s"
    )
    try:
        paths.prepare()
        with paths.lock.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _report(options.report_fd, {"listening": False})
                return 0
            _raise_limits()
            settings = ServiceSettings(
                state_dir=paths.root,
                version=options.version_name or __version__,
                port=options.port,
                fork=not options.no_fork,
            )
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, options.report_fd))
    except LocalError as error:
        _log.error("%s", error.message)
        _report(options.report_fd, {"error": error.as_json()})
        return 1
    return 0


async def _serve(settings: ServiceSettings, report_fd: int) -> None:
    service = Service(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    log = StatePaths(settings.state_dir).service_log if report_fd >= 0 else None
    turning = loop.create_task(_turn_log_over(log)) if log is not None else None
    try:
        await service.start()
        _log.info("mlfn %s serves %s on 127.0.0.1:%d", settings.version, settings.state_dir, service.router.port)
        _report(report_fd, {"listening": True})
        await service.wait()
        _log.info("stopping")
    finally:
        if turning is not None:
            turning.cancel()
        await service.close()


async def _turn_log_over(log: Path) -> None:
    while True:
        await asyncio.sleep(LOG_CHECK_S)
        if logs.turn_over(log):
            open_log(str(log))


def _report(fd: int, message: dict[str, object]) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.write(fd, wire.encode(message))
        with contextlib.suppress(OSError):
            os.close(fd)


def _raise_limits() -> None:
    """Allow as many open files as the system lets us: each request under way takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
