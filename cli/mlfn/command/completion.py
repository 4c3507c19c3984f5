"""`mlfn completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mlfn.errors import InvalidInput
from mlfn.nearest import did_you_mean

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the completion script for a shell.")
@click.argument(
    "shell",
    required=False,
    metavar="[bash|zsh|fish]",
    shell_complete=lambda ctx, param, incomplete: [each for each in SHELLS if each.startswith(incomplete)],
)
def completion(shell: str | None) -> None:
    """Print the script that completes commands and options in a shell, by default the one that $SHELL names.

    \b
    Examples:
      eval "$(mlfn completion bash)"                                # in ~/.bashrc
      eval "$(mlfn completion zsh)"                                 # in ~/.zshrc
      mlfn completion fish > ~/.config/fish/completions/mlfn.fish
    """
    from click.shell_completion import get_completion_class

    from mlfn.command.main import group

    name = shell or Path(os.environ.get("SHELL", "bash")).name
    if name not in SHELLS:
        raise InvalidInput(
            f"no completion for the shell {name!r}, expected one of {', '.join(SHELLS)}",
            hints=did_you_mean(name, SHELLS),
        )
    script = get_completion_class(name)
    assert script is not None
    print(script(group, {}, "mlfn", "_MLFN_COMPLETE").source())
