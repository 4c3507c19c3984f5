"""``python -m mlfn_runtime --model PATH [--name NAME] [--host HOST] [--port PORT]``: the server of an image.

Options go before environment variables (settings.py lists them). ``python -m mlfn_runtime ping URL`` sends one warm
ping instead: an image's entry point with other arguments.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_OPTIONS = {"--model": "model_path", "--name": "name", "--host": "host", "--port": "port"}


def main(arguments: list[str]) -> int:
    """Read the arguments and serve. argparse is left out: it costs 6 ms of a cold start."""
    if arguments[:1] == ["ping"]:
        from mlfn_runtime.ping import main as ping

        return ping(arguments[1:])
    from mlfn_runtime.server import ServerSettings, serve

    given: dict[str, object] = {}
    words = list(arguments)
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option not in _OPTIONS or (not equals and not words):
            print(f"mlfn: expected {', '.join(_OPTIONS)}, each with a value; got {option!r}", file=sys.stderr)
            return 2
        given[_OPTIONS[option]] = value if equals else words.pop(0)
    try:
        port = str(given.get("port", 0))
        if not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"--port: expected a number from 0 to 65535, got {port!r}")
        if "port" in given:
            given["port"] = int(port)
        settings = ServerSettings.from_environment(os.environ, **given)
    except ValueError as error:
        print(f"mlfn: {error}", file=sys.stderr)
        return 2
    return serve(settings)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if sys.stdout is not None:  # closed by whoever started this
        sys.stdout.flush()
    os._exit(code)  # the threads that run the model need not be waited for, and nothing is left to write
