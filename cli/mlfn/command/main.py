"""The group of all commands, and what happens when one fails.

Commands are named here with their line of help, and imported when they are called: listing and completing them imports
none. ``main`` returns the exit code and is the only place that turns a failure into words and a code.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click

from mlfn.command.options import CONTEXT, unknown_command
from mlfn.command.output import report, say
from mlfn.errors import InvalidInput, MlfnError
from mlfn.nearest import did_you_mean

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["COMMANDS", "group", "main", "report_bug"]

INTERRUPTED = 130
COMMANDS: dict[str, tuple[str, str]] = {
    "inspect": ("inspect", "Tell what a model takes and gives, and what is wrong with it."),
    "serve": ("serve", "Serve a model in this terminal, without a platform."),
    "build": ("build", "Make a container image of a model, without a container engine."),
    "deploy": ("deploy", "Make a model answer as a function that scales from zero and back."),
    "invoke": ("invoke", "Send a request to a function and print its answer."),
    "manifest": ("manifest", "Write what a deploy would apply, for Git: objects, a Helm chart, a kustomize base."),
    "list": ("functions", "List the functions."),
    "describe": ("functions", "Tell all about a function: revisions, instances, scale decisions, errors."),
    "logs": ("logs", "Print what the instances of a function wrote."),
    "traffic": ("traffic", "Show or change which revisions get a function's requests."),
    "rollback": ("rollback", "Bring an earlier revision of a function back."),
    "delete": ("delete", "Delete a function with its revisions and logs."),
    "warm": ("warm", "Plan and look at what keeps a function warm."),
    "local": ("local", "Start, stop and look at the service on this machine."),
    "openwhisk": ("openwhisk", "Run a small OpenWhisk on this machine."),
    "sim": ("sim", "Ask a simulated cluster what a scheduler would do."),
    "config": ("config", "Show every setting with its origin."),
    "completion": ("completion", "Print the completion script for a shell."),
    "version": ("version", "Print the version of mlfn and of what it stands on."),
}
"""Name: module below mlfn.command, and the line in `mlfn --help` (a test holds it equal to the command's own)."""


class LazyGroup(click.Group):
    """List commands from a table and import each when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of work, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"mlfn.command.{COMMANDS[cmd_name][0]}")
        found = getattr(module, "list_functions" if cmd_name == "list" else cmd_name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or offer the nearest."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise unknown_command(args[0], COMMANDS, ctx.command_path)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Complete a command's name without importing it."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=about) for name, (_, about) in COMMANDS.items() if name.startswith(incomplete)
        ]


@click.command(cls=LazyGroup, context_settings={**CONTEXT, "auto_envvar_prefix": "MLFN"})
@click.option(
    "--debug", is_flag=True, envvar="MLFN_DEBUG", show_envvar=True, help="Show a traceback when a command fails."
)
@click.version_option(None, "-V", "--version", package_name="mlfn", prog_name="mlfn", message="%(prog)s %(version)s")
def group(debug: bool) -> None:
    """From a serialized model to a warm, monitored serverless function.

    \b
    Examples:
      mlfn inspect model.onnx          what it takes and gives
      mlfn deploy model.onnx           serve it as a function on this machine
      mlfn invoke NAME --example       send a request made from its signature
      mlfn list                        what is deployed

    Every option can be set in the environment and most in mlfn.yaml; `mlfn config` shows each value and its origin.
    """
    if debug:
        sys.excepthook = sys.__excepthook__


def main(args: Sequence[str]) -> int:
    """Run a command line; return the exit code. What is not a failure of the user's world is raised (a bug)."""
    debug = wants_debug(args)
    try:
        outcome = group.main(list(args), prog_name="mlfn", standalone_mode=False)
        sys.stdout.flush()
    except MlfnError as error:
        return _fail(error, args, debug=debug)
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return InvalidInput.exit_code
    except click.ClickException as error:
        return _fail(_usage_error(error), args, debug=debug)
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads (head, less) has seen enough. click exits with the same code, equally silent, when it meets this.
        _drop_output()
        return MlfnError.exit_code
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        return _fail(MlfnError(f"the output cannot be written: {error.strerror}"), args, debug=debug)
    return outcome if isinstance(outcome, int) else 0


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that closing stdout does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_debug(args: Sequence[str]) -> bool:
    """Tell whether tracebacks are asked for, even where the command line itself cannot be parsed."""
    before_command = list(args[: next((i for i, arg in enumerate(args) if not arg.startswith("-")), len(args))])
    return "--debug" in before_command or os.environ.get("MLFN_DEBUG", "").lower() in ("1", "true", "yes", "on")


def wants_json(args: Sequence[str]) -> bool:
    """Tell whether JSON is asked for, even where the command line itself cannot be parsed."""
    for index, arg in enumerate(args):
        if arg == "--":
            break
        if args[0] == "build" and arg.startswith("--output"):
            continue  # there it is the file that is written
        if arg in ("-o", "--output"):
            return args[index + 1 : index + 2] == ["json"]
        if arg.startswith("--output=") or (arg.startswith("-o") and not arg.startswith("--")):
            return arg.removeprefix("--output=").removeprefix("-o").removeprefix("=") == "json"
    return os.environ.get("MLFN_OUTPUT") == "json"


def _fail(error: MlfnError, args: Sequence[str], *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    report(error, as_json=wants_json(args))
    return error.exit_code


def _usage_error(error: click.ClickException) -> MlfnError:
    hints: list[str] = []
    if isinstance(error, click.NoSuchOption):
        message = f"unknown option {error.option_name!r}"
        known = [name for param in error.ctx.command.params for name in param.opts] if error.ctx else []
        hints += did_you_mean(error.option_name, known)
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    if context is not None:
        hints.append(f"{context.command_path} --help shows what it takes")
    return InvalidInput(message, hints=tuple(hints))


def report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an exception that nobody foresaw; the hook for those that end the process."""
    bug = MlfnError(
        f"this is a bug in mlfn: {kind.__name__}: {error}",
        hints=("run it again as `mlfn --debug …` to see where, and report that",),
    )
    report(bug, as_json=wants_json(sys.argv[1:]))
