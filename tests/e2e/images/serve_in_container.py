"""serve_in_container.py ENGINE BUILDER --model FILE --name NAME --port PORT: build an image of a model and run it.

A server command for tests/conformance_runtime: the container runs as a stranger would run it, read-only, without root
and without any capability; this process becomes the engine's client, which passes on output and signals.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKED = ["--read-only", "--user", "65532", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def main() -> None:
    """Build, load, run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    parser.add_argument("builder")
    for option in ("--model", "--name", "--port"):
        parser.add_argument(option, required=True)
    asked = parser.parse_args()
    image = built(asked.engine, asked.builder, asked.model, asked.name)
    told = {name: value for name, value in os.environ.items() if name.startswith(("MLFN_", "__OW_"))}
    variables = [word for name, value in ({"PORT": asked.port} | told).items() for word in ("--env", f"{name}={value}")]
    argv = [
        asked.engine,
        "run",
        "--rm",
        "--network",
        "host",
        "--name",
        f"mlfn-{asked.port}",
        *LOCKED,
        *variables,
        image,
    ]
    os.execvp(asked.engine, argv)


def built(engine: str, builder: str, model: str, name: str) -> str:
    """Return the name of a model's image in the engine."""
    command = [str(Path(sys.executable).with_name("mlfn")), "build", model, "--name", name, "-o", "json"]
    if builder != "mlfn":
        return str(json.loads(output(*command, "--builder", builder))["reference"])
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        told = json.loads(output(*command, "--output", str(archive)))
        output(engine, "load", "--input", str(archive))
    return str(told["reference"])


def output(*command: str) -> str:
    """Return what a command that has to succeed prints."""
    surroundings = dict(os.environ)
    if base := os.environ.get("CONFORMANCE_BASE_IMAGE"):
        surroundings["MLFN_BASE_IMAGE"] = base
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=surroundings)
    if done.returncode:
        sys.exit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
