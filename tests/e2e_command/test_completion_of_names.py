"""A shell completes the names of what is deployed, and hears nothing when that cannot be learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def completed(cli: Any, line: str, **env: str) -> list[str]:
    """Return what bash would offer at the end of a line; nothing may be said besides."""
    words = line.split(" ")
    asked = {"_MLFN_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = cli.run(**asked, **env)
    assert done.stderr == ""
    return [each.partition(",")[2] for each in done.stdout.splitlines() if each]


def test_the_names_of_functions_are_completed(cli: Any, iris: Path) -> None:
    for name in ("iris", "irises", "other"):
        cli.json("deploy", iris, "--name", name)
    for command in ("describe", "invoke", "logs", "delete", "traffic", "rollback"):
        # A busy machine may take longer than a person is kept waiting; the next Tab then helps.
        cli.wait_for(lambda command=command: completed(cli, f"mlfn {command} iri") == ["iris", "irises"])
    cli.wait_for(lambda: completed(cli, "mlfn describe ") == ["iris", "irises", "other"])


@pytest.mark.parametrize(
    "env", [{}, {"MLFN_PLATFORM": "nowhere"}, {"MLFN_LOCAL_PORT": "none"}], ids=["nothing", "no platform", "no setting"]
)
def test_what_cannot_be_learnt_is_not_offered(cli: Any, env: dict[str, str]) -> None:
    assert completed(cli, "mlfn describe i", **env) == []
    assert not cli.state.exists()
