"""`mlfn build` as a person meets it: what it prints, its exit codes, and that no secret is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn.images import BuildRequest

Mlfn = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mlfn(tmp_path: Path, request_of: BuildRequest, repository: Path) -> Mlfn:
    """Return a function that runs `mlfn build` on the iris model with stub wheels."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        surroundings = {**os.environ, "NO_COLOR": "1", "MLFN_BASE_IMAGE": request_of.base, **env}
        given = ["--lock", str(request_of.lock), "--wheel-dir", str(request_of.wheel_dir)]
        given += ["--arch", request_of.architectures[0], *arguments]
        model = repository / "examples/iris/model.onnx"
        command = [sys.executable, "-c", "from mlfn.command import mlfn; mlfn()", "build", str(model), *given]
        return subprocess.run(
            command, env=surroundings, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110
        )

    return run


def test_the_pinned_reference_is_all_of_standard_output(mlfn: Mlfn, registry: Any) -> None:
    done = mlfn("-r", f"{registry.host}/people", "--name", "iris")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{registry.host}/people/iris@sha256:")
    assert "above the base" in done.stderr
    again = mlfn("-r", f"{registry.host}/people", "--name", "iris")
    assert again.stdout == done.stdout
    assert again.stderr.startswith("unchanged:")


def test_json_tells_all_of_the_image(mlfn: Mlfn, registry: Any) -> None:
    done = mlfn("-r", f"{registry.host}/programs", "-o", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["schema"] == "mlfn.image/v1"
    assert told["reference"] == f"{registry.host}/programs/model@{told['digest']}"
    assert told["size"] == sum(layer["size"] for layer in told["layers"])
    assert [layer["kind"] for layer in told["layers"]][-3:] == ["dependencies", "runtime", "model"]
    assert told["seconds"]["total"] >= told["seconds"]["push"] > 0
    assert told["changed"] is True


def test_a_file_is_named_on_standard_output_by_what_engines_call_it(mlfn: Mlfn, tmp_path: Path) -> None:
    done = mlfn("--output", "image.tar", "--name", "iris")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("localhost/iris:")
    assert (tmp_path / "image.tar").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "no registry given"),
        (("-r", "https://example.com"), 2, "without https://"),
        (("-r", "127.0.0.1:9/x"), 10, "127.0.0.1:9"),
        (("--output", "x.tar", "--base", "oci:/no/such/folder"), 4, "does not exist"),
        (("--output", "x.tar", "--wheel-dir", "/no/such/folder"), 2, "--wheel-dir"),
        (("--output", "/proc/x.tar"), 2, "cannot be written"),
    ],
    ids=["no-registry", "bad-registry", "unreachable", "no-base", "no-wheels", "unwritable"],
)
def test_failures_have_their_exit_code(mlfn: Mlfn, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = mlfn(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_a_failure_is_one_line_of_json_where_json_is_asked_for(mlfn: Mlfn) -> None:
    done = mlfn("--output", "x.tar", "--base", "oci:/no/such/folder", "-o", "json")
    assert json.loads(done.stderr)["error"]["kind"] == "not_found"


def test_a_bad_epoch_is_refused(mlfn: Mlfn) -> None:
    done = mlfn("--output", "x.tar", SOURCE_DATE_EPOCH="yesterday")
    assert done.returncode == 2
    assert "SOURCE_DATE_EPOCH" in done.stderr


def test_a_cache_that_cannot_be_written_is_told(mlfn: Mlfn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = mlfn("--output", "x.tar", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.returncode == 6, done.stderr
    assert "XDG_CACHE_HOME" in done.stderr
