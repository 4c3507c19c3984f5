"""The command line. A command parses, calls one function of ``mlfn.delivery``, prints; nothing else happens here.

``mlfn`` is the entry point. Nothing heavier than click is imported for it: `mlfn --help` and completion answer in under
0.3 s, and `mlfn serve` loads its model before rich or PyYAML would have been imported.
"""

from __future__ import annotations

import io
import os
import sys

# The built-in half of signal: the other imports enum and with it 5 ms in which Ctrl-C ends in a traceback. typing, for
# the same reason, is for the type checker only.
from _signal import SIG_IGN, SIGINT, SIGTERM, signal  # type: ignore[import-not-found]  # in no stub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

__all__ = ["mlfn"]

_INTERRUPTED = 130


def mlfn() -> NoReturn:
    """Run the command line and exit."""
    # SIGTERM is how a pipeline cancels a job: what a command has begun is taken back as after Ctrl-C.
    signal(SIGINT, _interrupt)
    signal(SIGTERM, _interrupt)
    _open_standard_streams()
    from mlfn.command.main import main, report_bug

    sys.excepthook = report_bug
    code = main(sys.argv[1:])
    # The work is done and told: Ctrl-C while Python takes itself apart must not change the answer.
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Open on nothing what the caller has closed (``>&-``), so that no file of ours takes its descriptor."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # a descriptor, for as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    # Documents are UTF-8 in every locale; the name of a file that is not stays readable.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but leave at once from within an import.

    There is nothing to clean up there, and an exception that passes through the start of a C extension has been seen to
    end in a segmentation fault.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            # The sequence shows the cursor again, which a progress line has hidden.
            os.write(2, b"\x1b[?25h\ninterrupted\n" if os.isatty(2) else b"\ninterrupted\n")
            os._exit(_INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt
