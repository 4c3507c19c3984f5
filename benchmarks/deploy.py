"""`mlfn deploy` of iris to the first answer, with the service down and with it up; both cores, as for a user."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

import load
from local_platform import LocalPlatform, local_platform
from options import Options
from prepare import Home
from rows import Row
from servers import call_for, check


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield the two rows of deploy."""
    down, up = [], []
    for _ in range(options.samples):
        with local_platform(home, pinned=False) as platform:
            down.append(_deploy(platform, "first"))
            up.append(_deploy(platform, "second"))
    print(f"  deploy: {statistics.median(down):.2f} s down, {statistics.median(up):.2f} s up", file=sys.stderr)
    for what, seconds, target in (("down", down, 3.0), ("up", up, 1.0)):
        details = {"seconds": [round(each, 3) for each in seconds]}
        yield Row(f"deploy to first answer, service {what}", statistics.median(seconds), "s", "<=", target, details)


def _deploy(platform: LocalPlatform, name: str) -> float:
    began = time.perf_counter()
    url = platform.run("deploy", str(platform.home.model("iris")), "--name", name)["url"]
    answer = load.ask(url, call_for(platform.home, "mlfn", "iris", name))
    seconds = time.perf_counter() - began
    check("mlfn", answer, platform.home.expected("iris"))
    return seconds
