"""Run the background service: ``python -m mlfn_local --state-dir DIR``. Started by ``mlfn_local.launch``."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> int:
    """Detach where asked to, take the lock, serve until stopped."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m mlfn_local")
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--version-name", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--report-fd", type=int, default=-1)
    parser.add_argument("--no-fork", action="store_true")
    options = parser.parse_args()
    if options.report_fd >= 0 and os.fork():
        # The parent ends at once: the service is nobody's child, and nobody has to wait for it.
        os._exit(0)
    from mlfn_local.serving import serve

    return serve(options)


if __name__ == "__main__":
    sys.exit(main())
