"""`mlfn version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from mlfn import __version__
from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data

__all__ = ["version"]

_STANDS_ON = ("onnxruntime", "numpy", "onnx", "httptools", "uvloop", "orjson", "click")


@click.command(short_help="Print the version of mlfn and of what it stands on.")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def version(output: Format) -> None:
    """Print the version of mlfn and of what it stands on.

    \b
    Examples:
      mlfn version
      mlfn version -o json
    """
    packages = {name: _version_of(name) for name in _STANDS_ON}
    system = f"{platform.system()} {platform.machine()}"
    if output.is_data:
        about = {"mlfn": __version__, "python": platform.python_version(), "system": system, "packages": packages}
        print_data({"schema": "mlfn.version/v1", **about}, output)
        return
    print(f"mlfn {__version__}")
    print(f"python {platform.python_version()} on {system}")
    for name, found in packages.items():
        print(f"{name} {found}")


def _version_of(package: str) -> str:
    try:
        return installed(package)
    except PackageNotFoundError:
        return "not installed"
