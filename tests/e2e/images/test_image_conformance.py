"""Containers of mlfn's images answer every contract: the function server's own conformance suite, run against them.

Read-only, as a user that no image knows, without any capability: as clusters run them. Each builder's image is run by
each engine that takes it.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

SUITE = (
    "triton_client",
    "hosted_contract",
    "cloudevents_sdk",
    "openwhisk_contract",
    "metrics_text",
    "openapi_document",
)
# An engine passes logs on some time after they were written: what these three say of the order holds for the process.
DESELECTED = (
    "test_openwhisk_contract.py::test_logs_of_an_activation_end_before_its_answer",
    "test_openwhisk_contract.py::test_an_error_is_logged_with_its_activation",
    "test_openwhisk_contract.py::test_run_without_init_and_bad_init",
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("engine", "builder"),
    [("docker", "mlfn"), ("docker", "docker"), ("podman", "mlfn"), ("podman", "podman")],
    ids=lambda name: name,
)
def test_a_container_answers_every_contract(
    request: pytest.FixtureRequest,
    repository: Path,
    builds: Any,
    base_layout: Callable[..., str],
    engine: str,
    builder: str,
) -> None:
    here = request.getfixturevalue(engine)
    server = [sys.executable, str(Path(__file__).with_name("serve_in_container.py")), engine, builder]
    suite = repository / "tests" / "conformance_runtime"
    deselected = [f"--deselect={(suite / each).relative_to(repository)}" for each in DESELECTED]
    if builder != "mlfn":  # what schemathesis looks at is the same server, and takes as long as all the rest
        deselected.append(f"--deselect={suite.relative_to(repository)}/test_openapi_document.py")
    environment = {
        **builds.surroundings(),
        **here.environment,
        "CONFORMANCE_SERVER": shlex.join(server),
        "CONFORMANCE_BASE_IMAGE": f"oci:{base_layout()}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(str(suite / f"test_{each}.py") for each in SUITE), *deselected],
        env={name: value for name, value in environment.items() if name != "PYTEST_ADDOPTS"} | {"COLUMNS": "120"},
        cwd=repository,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert " passed" in done.stdout
