"""`mlfn manifest --platform openwhisk`: a wskdeploy project, and the same as commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

MLFN = Path(sys.executable).parent / "mlfn"
MODEL = Path(__file__).resolve().parents[3] / "examples" / "iris" / "model.onnx"
IMAGE = f"registry.example.com/team/iris:0123456789abcdef@sha256:{'ab' * 32}"


def mlfn(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command, without any OpenWhisk."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WHISK_", "WSK_", "MLFN_"))}
    return subprocess.run(
        [str(MLFN), "manifest", str(MODEL), "--platform", "openwhisk", "--name", "iris", *arguments],
        env={**kept, "WSK_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_project_is_what_a_deploy_makes(tmp_path: Path) -> None:
    done = mlfn("--image", IMAGE, "--memory", "300Mi", "--wskdeploy", str(tmp_path))
    assert done.returncode == 0, done.stderr
    package = yaml.safe_load((tmp_path / "manifest.yaml").read_text())["packages"]["default"]
    ((revision, action),) = package["actions"].items()
    assert revision == "iris@0123456789ab"
    assert action["docker"] == "registry.example.com/team/iris:0123456789abcdef"
    assert action["limits"]["memorySize"] == 300
    assert action["annotations"]["mlfn/image"] == IMAGE.replace(":0123456789abcdef", "")
    assert package["sequences"] == {
        "iris": {"actions": revision, "web": False, "annotations": {"mlfn/managed-by": "mlfn"}}
    }


def test_the_script_gives_wsk_the_same_words(tmp_path: Path) -> None:
    assert mlfn("--image", IMAGE, "--wskdeploy", str(tmp_path)).returncode == 0
    wsk = tmp_path / "wsk"
    wsk.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >> "$LOG"\n')
    wsk.chmod(0o755)
    log = tmp_path / "log"
    environment = {"PATH": os.environ["PATH"], "MLFN_WSK": str(wsk), "LOG": str(log), "WHISK_APIHOST": "http://h"}
    subprocess.run([str(tmp_path / "deploy.sh")], env=environment, check=True, timeout=60)
    create, ping, point = log.read_text().splitlines()
    assert create.startswith("action update iris@0123456789ab --docker registry.example.com/team/iris:0123456789abcdef")
    assert '"inputs"' in create
    assert ping == "action invoke iris@0123456789ab --blocking --result --param mlfn_ping true"
    assert point == "action update iris --sequence iris@0123456789ab --annotation mlfn/managed-by mlfn --web false"
    alone = subprocess.run([str(tmp_path / "deploy.sh")], env={"PATH": "/"}, capture_output=True, check=False)
    assert alone.returncode != 0


def test_the_same_gives_the_same() -> None:
    assert mlfn("--image", IMAGE).stdout == mlfn("--image", IMAGE).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--image", IMAGE, "--helm", "chart"], "--wskdeploy"),
        (["--image", IMAGE.replace(":0123456789abcdef", "")], "no tag"),
        (["--image", IMAGE, "--memory", "4Gi"], "--memory"),
    ],
)
def test_bad_input_is_named(arguments: list[str], told: str) -> None:
    done = mlfn(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
