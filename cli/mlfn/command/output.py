"""What a command prints: data on stdout, everything said to a person on stderr.

Commands call it with finished values. A table of a few rows is made without a library (rich takes 60 ms to import); a
progress line needs rich, and only once something takes over a second on a terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

import click

from mlfn.errors import InvalidInput
from mlfn.nearest import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mlfn.errors import MlfnError
    from mlfn.function import Finding
    from mlfn.platforms import Progress
    from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = [
    "Format",
    "FormatType",
    "ago",
    "outcome_stands",
    "print_data",
    "print_findings",
    "report",
    "say",
    "signature_table",
    "stages",
    "table",
    "utc",
    "warn",
]

PATIENCE_S = 1.0
"""Time without a word on a terminal: below it, a progress line only flickers."""

_COLOURS = {"error": "31;1", "warning": "33;1", "hint": "36", "info": "36"}


class Format(StrEnum):
    """A form of output."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    URL = "url"

    @property
    def is_data(self) -> bool:
        """Tell whether a program reads it, so that it has to hold everything."""
        return self in (Format.JSON, Format.YAML)


if TYPE_CHECKING:
    _FormatParam = click.ParamType[Format]
else:
    # Generic only since click 8.4.
    _FormatParam = click.ParamType


class FormatType(_FormatParam):
    """Take one of the forms that a command can print: the type of ``-o``."""

    name = "format"

    def __init__(self, forms: tuple[Format, ...]) -> None:
        self.forms = forms

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Format:
        """Return the form, or offer the nearest."""
        if value not in self.forms:
            raise InvalidInput(
                f"-o (MLFN_OUTPUT): unknown form of output {str(value)!r}, expected one of {', '.join(self.forms)}",
                hints=did_you_mean(str(value), map(str, self.forms)),
            )
        return Format(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a form."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(form.value) for form in self.forms if form.startswith(incomplete)]


def print_data(document: Mapping[str, object], form: Format) -> None:
    """Print a document with its ``schema`` as JSON or YAML."""
    if form is Format.YAML:
        import yaml

        print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="")
        return
    import json

    print(json.dumps(document, indent=2, ensure_ascii=False))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns under upper-case heads, two spaces apart."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def signature_table(signature: ModelSignature) -> str:
    """Return a model's inputs and outputs as a table, free axes by the name that the model gives them."""
    rows = [("input", *_tensor(spec)) for spec in signature.inputs]
    rows += [("output", *_tensor(spec)) for spec in signature.outputs]
    return table(("TENSOR", "NAME", "DATATYPE", "SHAPE"), rows)


def _tensor(spec: TensorSpec) -> tuple[str, str, str]:
    symbols = spec.symbols or ("",) * len(spec.shape)
    axes = [str(axis) if axis >= 0 else symbol or "?" for axis, symbol in zip(spec.shape, symbols, strict=True)]
    return spec.name, spec.datatype, " x ".join(axes) or "scalar"


def ago(seconds: float) -> str:
    """Return an age in its largest unit, as kubectl does: ``45s``, ``12m``, ``3h``, ``9d``."""
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def utc(seconds: float) -> str:
    """Return a Unix time as documents tell it: ``2026-05-01T12:00:00.000Z``."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def say(message: str) -> None:
    """Tell a person something, on stderr."""
    print(message, file=sys.stderr)


def warn(message: str, *hints: str) -> None:
    """Tell a person of something that did not stop the work."""
    _labelled("warning", message, hints)


def print_findings(findings: Sequence[Finding]) -> None:
    """Tell all findings, worst first, each with its fix."""
    order = {"error": 0, "warning": 1, "info": 2}
    for finding in sorted(findings, key=lambda each: order[each.severity.value]):
        seen = f" (seen: {finding.seen}; expected: {finding.expected})" if finding.seen and finding.expected else ""
        _labelled(finding.severity.value, f"{finding.message}{seen}", (finding.fix,) if finding.fix else ())


def report(error: MlfnError, *, as_json: bool) -> None:
    """Tell a failure on stderr: what failed, the evidence indented, then one hint a line; or one line of JSON."""
    if as_json:
        import json

        body = {
            "kind": error.kind,
            "message": error.message,
            "details": error.details,
            "hints": list(error.hints),
            "exit_code": error.exit_code,
        }
        say(json.dumps({"schema": "mlfn.error/v1", "error": body}, ensure_ascii=False))
        return
    _labelled("error", error.message, error.hints, error.details)


@contextmanager
def stages() -> Iterator[Progress]:
    """Give a progress function; on a terminal, show the stage it was told last once a second has passed."""
    if not _is_terminal(sys.stderr):
        yield _silent
        return
    from threading import Timer

    line = _ProgressLine()
    timer = Timer(PATIENCE_S, line.show)
    timer.daemon = True
    timer.start()
    try:
        yield line
    finally:
        timer.cancel()
        line.close()


@contextmanager
def outcome_stands() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM while an outcome is told: what has been changed must not be reported as interrupted."""
    from signal import SIG_DFL, SIG_IGN, SIGINT, SIGTERM, signal
    from threading import current_thread, main_thread

    if current_thread() is not main_thread():  # only that one is interrupted
        yield
        return
    before = {number: signal(number, SIG_IGN) for number in (SIGINT, SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal(number, handler or SIG_DFL)


class _ProgressLine:
    """Hold the current stage and, once shown, a spinner with it."""

    def __init__(self) -> None:
        from threading import Lock

        self._stage = "starting"
        self._began = time.monotonic()
        self._lock = Lock()
        self._stop_spinner = _nothing
        self._closed = False

    def __call__(self, stage: str) -> None:
        self._stage = stage

    def show(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn

        with self._lock:
            if self._closed:
                return
            console = Console(stderr=True)
            bar = Bar(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True)
            # Formatted by str() at each refresh, so it always shows the stage of that moment.
            bar.add_task(self, total=None)  # type: ignore[arg-type]  # rich only formats it
            bar.start()
            self._stop_spinner = bar.stop

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._stop_spinner()

    def __str__(self) -> str:
        return f"{self._stage} … {time.monotonic() - self._began:.0f} s"


def _nothing() -> None:
    """Do nothing."""


def _silent(stage: str) -> None:
    """Take a stage and show nothing: nobody watches."""


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _labelled(label: str, message: str, hints: Sequence[str], details: str = "") -> None:
    first, *rest = message.splitlines() or [""]
    lines = [f"{_paint(label)}: {first}", *(f"  {line}" for line in (*rest, *details.splitlines()))]
    lines += [f"{_paint('hint')}: {hint}" for hint in hints]
    say("\n".join(lines))


def _paint(label: str) -> str:
    # https://no-color.org: any value that is not empty switches colours off.
    if not _is_terminal(sys.stderr) or os.environ.get("NO_COLOR"):
        return label
    return f"\x1b[{_COLOURS[label]}m{label}\x1b[0m"
