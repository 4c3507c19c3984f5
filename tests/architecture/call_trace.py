"""Run one `mlfn` command line and write which of the deployer's files it entered and who called whom.

``python call_trace.py OUT.json deploy model.onnx ...`` writes ``{"exit", "files": [...], "calls": [[from, to], ...]}``,
files relative to the package and in order of entry. A call counts from the nearest frame of the package, so that click
in between does not hide who caused it; what runs while a module is imported does not count.
"""

from __future__ import annotations

import inspect
import json
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType

import mlfn
from mlfn.command.main import main

PACKAGE = str(Path(mlfn.__file__).parent) + "/"


class Trace:
    """Collect files and calls through ``sys.setprofile``."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        """Take one event of the profiler."""
        if event != "call" or not _is_ours(frame.f_code):
            return
        caller, importing = _caller(frame)
        if importing:
            return
        file = frame.f_code.co_filename.removeprefix(PACKAGE)
        if file not in self.files:
            self.files.append(file)
        if caller and caller != file and (caller, file) not in self.calls:
            self.calls.append((caller, file))


def _is_ours(code: CodeType) -> bool:
    """Tell whether this is a function (no module, no class body) of the package."""
    return code.co_filename.startswith(PACKAGE) and bool(code.co_flags & inspect.CO_OPTIMIZED)


def _caller(frame: FrameType) -> tuple[str, bool]:
    """Return the nearest file of the package up the stack, and whether a module is being imported."""
    caller = ""
    up = frame.f_back
    while up is not None and up.f_globals.get("__name__") != "__main__":
        if up.f_code.co_name == "<module>":
            return caller, True
        if not caller and _is_ours(up.f_code):
            caller = up.f_code.co_filename.removeprefix(PACKAGE)
        up = up.f_back
    return caller, False


def run(out: Path, args: list[str]) -> None:
    """Trace one command line."""
    trace = Trace()
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        code = main(args)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    out.write_text(json.dumps({"exit": code, "files": trace.files, "calls": trace.calls}))


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
