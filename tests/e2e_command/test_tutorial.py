"""The tutorial's commands, typed one after another by a shell, do what the page says."""

from __future__ import annotations

from typing import Any

NOT_TYPED_HERE = ("make demo", ". .venv")
"""Steps before mlfn is installed; the tests run in such an environment already."""
REFUSED = "mlfn deploy README.md"
"""The one command that the page announces to fail."""


def test_every_command_of_the_tutorial(type_page: Any) -> None:
    typed = type_page("tutorial/first-function.md", NOT_TYPED_HERE)
    assert len(typed) > 10
    (asked,) = (done for line, done in typed if "curl" in line)
    assert '"model_name":"flowers"' in asked.stdout
    ((refused, code),) = ((line, done.returncode) for line, done in typed if done.returncode)
    assert refused.startswith(REFUSED)
    assert code == 2
