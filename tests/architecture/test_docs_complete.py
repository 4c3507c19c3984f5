"""Whatever a user can meet is in the reference: commands, options, settings, exit codes, findings, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from mlfn import errors
from mlfn.command.main import COMMANDS, group
from mlfn.images import FINDINGS as IMAGE_FINDINGS
from mlfn.models.findings import FINDINGS
from mlfn.settings import FIELDS
from mlfn_local.status import FINDINGS as STATUS_FINDINGS
from mlfn_runtime.metrics import METRICS
from mlfn_runtime.settings import ServerSettings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
BY_CLICK = {"--help", "--version"}


@pytest.fixture(scope="module")
def reference() -> str:
    """All reference pages in one text."""
    pages = sorted(REFERENCE.rglob("*.md"))
    assert pages, f"no pages in {REFERENCE}"
    return "\n".join(page.read_text() for page in pages)


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below, by the words one types."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for word in command.list_commands(context):
            child = command.get_command(context, word)
            assert child is not None
            yield from _commands(child, f"{name} {word}")


def test_every_command_and_option(reference: str) -> None:
    missing = []
    commands = dict(_commands(group, "mlfn"))
    assert len(commands) >= len(COMMANDS)
    for name, command in commands.items():
        if f"`{name}" not in reference and f"# {name}" not in reference:
            missing.append(name)
        for option in (param for param in command.params if isinstance(param, click.Option) and not param.hidden):
            missing += [f"{name} {flag}" for flag in option.opts if flag.startswith("--") and flag not in reference]
    assert missing == []


def test_every_command_explains_itself() -> None:
    """A line of help for each command and each option, so that the reference can be generated from them."""
    silent = []
    for name, command in _commands(group, "mlfn"):
        silent += [] if command.help else [name]
        silent += [f"{name} {p.name}" for p in command.params if isinstance(p, click.Option) and not p.help]
    assert silent == []


def test_every_setting(reference: str) -> None:
    assert [key for key, field in FIELDS.items() if field.env not in reference or key not in reference] == []


def test_every_variable_of_the_function_server(reference: str) -> None:
    variables = [f"MLFN_{field.name.upper()}" for field in fields(ServerSettings)]
    assert [name for name in variables if name not in reference] == []


def test_every_exit_code(reference: str) -> None:
    kinds: list[type[errors.MlfnError]] = [errors.MlfnError, *errors.MlfnError.__subclasses__()]
    assert [
        kind.kind for kind in kinds if f"`{kind.kind}`" not in reference or f"{kind.exit_code}" not in reference
    ] == []
    assert "130" in reference


def test_every_finding(reference: str) -> None:
    assert [what for what in (*FINDINGS, *IMAGE_FINDINGS, *STATUS_FINDINGS) if f"`{what}`" not in reference] == []


def test_every_metric(reference: str) -> None:
    assert [metric.name for metric in METRICS if f"`{metric.name}`" not in reference] == []
