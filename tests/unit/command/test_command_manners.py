"""What every command has in common: help, near names, exit codes, the form of errors, colours, start-up time."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from mlfn import errors
from mlfn.command.main import COMMANDS, group


def commands() -> dict[str, click.Command]:
    """Return every command of the tree by its words."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": each for sub, each in command.commands.items()}
    return found


@pytest.mark.parametrize("words", commands())
def test_every_command_explains_itself_with_examples(words: str, run: Any) -> None:
    short, long = run(*words.split(), "-h"), run(*words.split(), "--help")
    assert (short.code, short.err) == (0, "")
    assert short == long
    command = commands()[words]
    assert isinstance(command, click.Group) or f"  mlfn {words}" in short.out
    assert command.short_help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says(name: str) -> None:
    assert commands()[name].short_help == COMMANDS[name][1]
    assert commands()[name].name == name


@pytest.mark.parametrize("words", commands())
def test_every_option_has_an_environment_variable(words: str) -> None:
    for param in commands()[words].params:
        if isinstance(param, click.Option) and not param.is_eager:
            assert param.allow_from_autoenv or "env var: MLFN_" in (param.help or ""), param.name
            assert param.help


def test_no_command_at_all_shows_the_help(run: Any) -> None:
    outcome = run()
    assert outcome.code == 2
    assert "Commands:" in outcome.err


@pytest.mark.parametrize(
    ("args", "told", "hint"),
    [
        (["lst"], "unknown command 'lst'", "did you mean 'list'?"),
        (["DEPLOY"], "unknown command 'DEPLOY'", "did you mean 'deploy'?"),
        (["local", "upp"], "unknown command 'upp'", "did you mean 'up'?"),
        (["deploy", "--nam", "x"], "unknown option '--nam'", "did you mean '--name'?"),
        (["delete", "--yess"], "unknown option '--yess'", "did you mean '--yes'?"),
        (["list", "-o", "jsn"], "unknown form of output 'jsn'", "did you mean 'json'?"),
        (["list", "--platform", "locl"], "unknown platform 'locl'", "did you mean 'local'?"),
        (["describe"], "missing argument 'NAME'", "mlfn describe --help shows what it takes"),
        (["logs", "x", "--tail", "many"], "--tail", "mlfn logs --help shows what it takes"),
        (["completion", "bsh"], "no completion for the shell 'bsh'", "did you mean 'bash'?"),
        (["config", "get", "serve.prt"], "unknown setting 'serve.prt'", "did you mean 'serve.port'?"),
        (["deploy"], "no model given", "mlfn deploy path/to/model.onnx"),
        (["invoke", "iris"], "no request given", "mlfn invoke iris --example"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_error_with_the_way_out(args: list[str], told: str, hint: str, run: Any) -> None:
    outcome = run(*args)
    assert outcome.code == 2
    assert outcome.out == ""
    first, *rest = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert told in first
    assert f"hint: {hint}" in rest
    assert all(line.startswith(("hint: ", "  ")) for line in rest)


@pytest.mark.parametrize("form", [["-o", "json"], ["-ojson"], ["--output=json"], ["--output", "json"]], ids=" ".join)
def test_with_json_asked_for_an_error_is_one_line_of_json(form: list[str], run: Any, world: Any) -> None:
    outcome = run("describe", "nobody", *form)
    assert (outcome.code, outcome.out) == (4, "")
    told = json.loads(outcome.err)
    assert told["schema"] == "mlfn.error/v1"
    assert told["error"]["kind"] == "not_found"
    assert told["error"]["exit_code"] == 4
    assert "nobody" in told["error"]["message"]
    assert told["error"]["hints"] == ["mlfn list shows what is deployed"]


def test_even_a_command_line_that_cannot_be_parsed_is_answered_in_json(run: Any) -> None:
    assert json.loads(run("deploy", "--nam", "-o", "json").err)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type)], ids=lambda kind: kind.__name__
)
def test_each_kind_of_failure_has_its_exit_code(
    kind: type[errors.MlfnError], run: Any, world: Any, model: Path
) -> None:
    world.fails_with = kind("it broke", hints=("mend it",), details="line one\nline two")
    outcome = run("deploy", model)
    assert outcome.code == kind.exit_code
    assert outcome.err == "error: it broke\n  line one\n  line two\nhint: mend it\n"


def test_debug_shows_where_a_failure_came_from(run: Any, world: Any, model: Path) -> None:
    world.fails_with = errors.Conflict("it broke")
    assert "Traceback" not in run("deploy", model).err
    outcome = run("--debug", "deploy", model)
    assert outcome.code == 11
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("error: it broke\n")


def test_ctrl_c_exits_with_130(run: Any, world: Any, model: Path) -> None:
    world.fails_with = KeyboardInterrupt()
    outcome = run("deploy", model)
    assert (outcome.code, outcome.out, outcome.err.strip()) == (130, "", "interrupted")


def test_a_plugin_that_does_not_load_is_named(run: Any, world: Any) -> None:
    outcome = run("list", "--platform", "broken")
    assert outcome.code == 8
    assert "the platform 'broken' does not load: memory_platform_that_is_not_there:connect" in outcome.err
    assert "memory-platform" in outcome.err


def mlfn(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own."""
    command = [str(Path(sys.executable).parent / "mlfn"), *args]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)


def test_an_unexpected_exception_is_called_a_bug_and_shown_with_debug(tmp_path: Path, model: Path) -> None:
    env = {"PYTHONPATH": str(Path(__file__).parent / "installed"), "MLFN_PLATFORM": "memory", "MLFN_LOCAL_PORT": "13"}
    env["MLFN_STATE_DIR"] = str(tmp_path / "state")
    plain = mlfn("list", **env)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr == "error: no platform on port 13\n"
    env["MLFN_LOCAL_PORT"] = "14"
    bug = mlfn("list", **env)
    assert (bug.returncode, bug.stdout) == (1, "")
    assert bug.stderr.startswith("error: this is a bug in mlfn: ZeroDivisionError: ")
    assert "hint: " in bug.stderr
    assert "Traceback" not in bug.stderr
    assert "Traceback" in mlfn("--debug", "list", **env).stderr
    assert "Traceback" in mlfn("list", MLFN_DEBUG="1", **env).stderr


def test_a_reader_that_leaves_early_hears_no_complaint() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [str(Path(sys.executable).parent / "mlfn"), "config"]
    for unbuffered in ("", "1"):
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, env=env, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (1, b"")
    os.close(write_end)


def test_colours_are_for_terminals_and_no_color_switches_them_off() -> None:
    plain = mlfn("lst").stderr
    assert "\x1b" not in plain
    assert "\x1b[" in on_terminal("lst")
    assert "\x1b" not in on_terminal("lst", NO_COLOR="1")
    assert "\x1b" not in on_terminal("lst", TERM="dumb")


def on_terminal(*args: str, **env: str) -> str:
    """Run the command with a terminal as stderr; return what it showed."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", **env}
    environment = {key: value for key, value in environment.items() if key != "NO_COLOR" or "NO_COLOR" in env}
    command = [str(Path(sys.executable).parent / "mlfn"), *args]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:
        pass  # Linux reports the closed end of a terminal as an error.
    os.close(ours)
    return shown.decode()


HEAVY = ("numpy", "onnx", "onnxruntime", "rich", "yaml", "jinja2", "http.client", "asyncio")


@pytest.mark.parametrize(
    "args", [["--help"], ["deploy", "--help"], ["serve", "--help"], ["completion", "zsh"], ["lst"]], ids=" ".join
)
def test_what_answers_at_once_imports_nothing_heavy(args: list[str]) -> None:
    program = (
        f"import sys; from mlfn.command.main import main; main({args!r}); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_completion_names_commands_options_and_values() -> None:
    assert completed("mlfn de") == ["deploy", "describe", "delete"]
    assert completed("mlfn deploy --mi") == ["--min-scale"]
    assert completed("mlfn deploy -o j") == ["json"]
    assert completed("mlfn local pr") == ["prune"]


def completed(line: str) -> list[str]:
    """Return what bash would offer at the end of a line."""
    words = line.split(" ")
    env = {"_MLFN_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return [each.partition(",")[2] for each in mlfn(**env).stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_mlfn(shell: str, run: Any) -> None:
    assert "_MLFN_COMPLETE" in run("completion", shell).out


def test_the_commands_are_importable_one_by_one() -> None:
    assert {importlib.import_module(f"mlfn.command.{module}").__name__ for module, _ in COMMANDS.values()}


def test_a_login_in_an_address_is_not_shown(tmp_path: Path) -> None:
    """By any form of `mlfn config`: what it prints ends in tickets."""
    secret = "hunter2correct"
    given = {"MLFN_IMAGE_INDEX_URL": f"https://me:{secret}@host/simple", "MLFN_REGISTRY": f"me:{secret}@host/team"}
    program = str(Path(sys.executable).parent / "mlfn")
    for form in (["config"], ["config", "-o", "json"], ["config", "get", "image.index_url"]):
        done = subprocess.run(
            [program, *form], env={**os.environ, **given}, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert "https://****@host/simple" in done.stdout
        assert secret not in done.stdout + done.stderr
