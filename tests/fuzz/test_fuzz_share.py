"""A seeded share of the fuzz; ``python tests/fuzz/fuzz_server.py`` is the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz_server.py")


@pytest.mark.timeout(110)
@pytest.mark.parametrize("more", [("--seed", "1"), ("--seed", "20", "--openwhisk")], ids=["plain", "openwhisk"])
def test_hostile_requests_are_refused_and_nothing_else_happens(more: tuple[str, ...]) -> None:
    argv = (sys.executable, FUZZ, "--count", "3000", *more)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert report["sent"] >= report["count"] == 3000
    assert {"200", "400", "404", "405", "415"} <= report["statuses"].keys()
    assert done.returncode == 0
