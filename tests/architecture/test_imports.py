"""Who may import whom, and how little is loaded: contracts, the light runtime, the quick command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DEPLOYER_ONLY = {
    "click",
    "httpx",
    "jinja2",
    "kubernetes",
    "locust",
    "mlfn",
    "mlfn_templates",
    "numba",
    "onnx",
    "rich",
    "yaml",
}
HEAVY = {"numpy", "onnxruntime"}


def _modules_below(folder: str) -> list[str]:
    root = REPOSITORY / folder
    names = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if not name.endswith("__main__")]


def _loaded_by(*modules: str) -> set[str]:
    """Import modules in a fresh interpreter and return the top-level names of all that is loaded."""
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_import_contracts_hold(tmp_path: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--config", REPOSITORY / "pyproject.toml", "--cache-dir", tmp_path],
        cwd=REPOSITORY,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize("package", ["scheduler_sim/mlfn_policies", "runtimes/mlfn_runtime", "runtimes/mlfn_local"])
def test_what_runs_functions_loads_nothing_of_the_deployer(package: str) -> None:
    modules = _modules_below(package)
    assert modules
    assert not _loaded_by(*modules) & DEPLOYER_ONLY


def test_policies_load_the_standard_library_only() -> None:
    loaded = _loaded_by(*_modules_below("scheduler_sim/mlfn_policies"))
    ours = loaded - set(sys.stdlib_module_names) - set(_loaded_by())
    assert ours == {"mlfn_policies"}


def test_the_simulators_agreement_needs_no_extra() -> None:
    loaded = _loaded_by("mlfn_sim.agreement")
    ours = loaded - set(sys.stdlib_module_names) - set(_loaded_by())
    assert ours == {"mlfn_policies", "mlfn_sim", "numpy"}


def test_the_function_server_loads_what_an_image_has() -> None:
    loaded = _loaded_by("mlfn_runtime.server")
    assert not loaded & (DEPLOYER_ONLY | {"mlfn_local", "mlfn_sim", "uvicorn"})


def test_the_local_service_loads_neither_numpy_nor_onnx_runtime() -> None:
    """It lives as long as the machine is up: only the instances pay for a model's libraries."""
    assert not _loaded_by("mlfn_local.service") & (HEAVY | DEPLOYER_ONLY)


def test_the_command_line_imports_click_and_nothing_heavier() -> None:
    loaded = _loaded_by("mlfn.command.main")
    assert "click" in loaded
    assert not loaded & (HEAVY | {"jinja2", "mlfn_local", "onnx", "rich", "yaml"})
