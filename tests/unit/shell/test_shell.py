"""Outside tools are run as they are, and what is kept of them holds no secret."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlfn.errors import MissingExtra
from mlfn.shell import redacted, run


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def test_both_streams_and_the_exit_code_are_kept() -> None:
    ended = run(python("import sys; print('said'); print('warned', file=sys.stderr); sys.exit(3)"))
    assert (ended.code, ended.out, ended.err) == (3, "said\n", "warned\n")
    assert ended.last_lines() == "warned"
    assert ended.as_details().splitlines()[1:] == [
        "exit code 3",
        "-- standard output --",
        "said",
        "-- standard error --",
        "warned",
    ]


def test_the_output_stands_for_silent_errors_and_only_its_end_is_shown() -> None:
    ended = run(python("for n in range(100): print(n)"))
    assert ended.last_lines(2) == "98\n99"


def test_nothing_is_read_from_the_terminal(tmp_path: Path) -> None:
    read = "import sys; print(repr(sys.stdin.read()))"
    assert run(python(read)).out == "''\n"
    (tmp_path / "given").write_text("from a file")
    assert run(python(read), stdin=tmp_path / "given").out == "'from a file'\n"


def test_the_environment_is_added_to() -> None:
    ended = run(python("import os; print(os.environ['ADDED'], 'PATH' in os.environ)"), environment={"ADDED": "yes"})
    assert ended.out == "yes True\n"


def test_arguments_are_not_a_shells() -> None:
    ended = run(python("import sys; print(sys.argv[1])", "$(id) `id` ; *"))
    assert ended.out == "$(id) `id` ; *\n"


def test_bytes_that_are_no_text_are_kept_as_far_as_they_go() -> None:
    ended = run(python("import sys; sys.stdout.buffer.write(b'a\\xffb')"))
    assert ended.out == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(("mode", "words"), [(None, "is not on PATH"), (0o600, "may not be run")], ids=["no", "mode"])
def test_a_tool_that_cannot_be_run_is_named(tmp_path: Path, mode: int | None, words: str) -> None:
    tool = tmp_path / "tool"
    if mode is not None:
        tool.write_text("#!/bin/sh\n")
        tool.chmod(mode)
    with pytest.raises(MissingExtra, match=words) as caught:
        run((str(tool), "build"), hints=("install it",))
    assert str(tool) in caught.value.message
    assert caught.value.hints == ("install it",)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:PLANTED@index.example.com/simple",
        "https://PLANTED@index.example.com/simple",
        "--password=PLANTED",
        "MLFN_REGISTRY_PASSWORD=PLANTED",
        "X-Api-Key: PLANTED",
        "Authorization: Bearer PLANTED.PLANTED",
        "sent Basic PLANTEDPLANTED== to it",
        "access_token=PLANTED&scope=push",
        """{"password": "PLANTED"}""",
    ],
)
def test_secrets_are_covered(text: str) -> None:
    assert "PLANTED" not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "docker build --tag registry.example.com:5000/team/iris:1 .",
        "https://index.example.com/simple",
        "registry.example.com/iris@sha256:0123",
        "registry.example.com/tokens:0123",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert redacted(text) == text


def test_a_failed_command_keeps_no_secret() -> None:
    ended = run(python("import sys; sys.exit(sys.argv[1])", "https://user:PLANTED@index.example.com/"))
    assert ended.code == 1
    assert "PLANTED" not in ended.as_details() + ended.err + repr(ended)


def test_output_is_data_until_it_is_told() -> None:
    ended = run(python("print('token=PLANTED')"))
    assert ended.out == "token=PLANTED\n"
    assert "PLANTED" not in ended.last_lines() + ended.as_details() + repr(ended)
