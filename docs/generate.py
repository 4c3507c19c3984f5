"""Write the generated pages of docs/reference from the code: commands, settings, exit codes, findings, metrics.

``python docs/generate.py`` writes them; a test fails while they differ from what this would write.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from mlfn import errors
from mlfn.command.main import COMMANDS, INTERRUPTED, group
from mlfn.images.findings import FINDINGS as IMAGE_FINDINGS
from mlfn.models import FINDINGS
from mlfn.platforms.kube.findings import FINDINGS as CLUSTER_FINDINGS
from mlfn.platforms.openwhisk.findings import FINDINGS as OPENWHISK_FINDINGS
from mlfn.settings import FIELDS, Field
from mlfn.settings.fields import SECTIONS
from mlfn_local.status import FINDINGS as STATUS_FINDINGS
from mlfn_runtime.metrics import METRICS
from mlfn_runtime.settings import DoorSettings, ServerSettings
from mlfn_sim.experiments.decisions_file import COLUMNS
from mlfn_sim.experiments.figures import FIGURES
from mlfn_sim.experiments.schema import rows, schema

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate.py: change the code, then run it. -->"


def main() -> None:
    """Write every page."""
    for name, text in {**pages(), "scenario.schema.json": scenario_schema()}.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the text of every generated page by its file name."""
    made = {
        "commands.md": commands(),
        "exit-codes.md": exit_codes(),
        "findings.md": findings(),
        "function-server-settings.md": server_settings(),
        "metrics.md": metrics(),
        "scenario.md": scenario(),
        "settings.md": settings(),
    }
    return {name: "\n".join((NOTE, *lines)).rstrip() + "\n" for name, lines in made.items()}


def scenario_schema() -> str:
    """Return the JSON Schema of scenario files."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def scenario() -> Iterator[str]:
    """Describe what a scenario of the simulator holds, and what a run of one gives."""
    yield from ("# Scenarios of the simulator", "")
    yield "A scenario is a YAML file for `mlfn sim run` and `mlfn sim explain`, or a Python file that defines"
    yield "`SCENARIO` (or a function `scenario()`) out of the values of `mlfn_sim.experiments.scenario`, which have the"
    yield "same names. Unknown keys and values that cannot be are refused with file and line. Editors can check a file"
    yield "against the [JSON Schema](scenario.schema.json). Files that a scenario names lie beside it. How to begin:"
    yield "[Your first simulation](../tutorial/first-simulation.md)."
    yield from ("", "Only `name`, `cluster` and `workload` have to be there. A key with `[]` is one of a list.", "")
    yield from ("| key | default | takes | meaning |", "| --- | --- | --- | --- |")
    for key, default, takes, says in rows():
        yield f"| `{key}` | {f'`{default}`' if default else ''} | {takes} | {says} |"
    yield from ("", "## Figures", "")
    yield "What a report tells, each as the mean over the seeds with the 95 % confidence interval of that mean. They"
    yield "are about the time after `run.warm_up_s`, but for `waiting_at_end`, `scheduler_busy`, `failed_cycles`,"
    yield "`image_hits`, `preempted` and `lost`, which are about the whole run. `-o json` prints them as `mlfn.run/v1`."
    yield from ("", "| figure | unit | meaning |", "| --- | --- | --- |")
    for name, (unit, says) in FIGURES.items():
        yield f"| `{name}` | {unit} | {says} |"
    yield from ("", "## Decisions", "")
    yield "With `--out`, `decisions/seed-N.parquet` has a row for every scheduling cycle:"
    yield from ("", "| column | meaning |", "| --- | --- |")
    for name, says in COLUMNS.items():
        yield f"| `{name}` | {says} |"


def commands() -> Iterator[str]:
    """Describe every command."""
    yield from ("# Commands", "")
    yield "Data goes to standard output, messages and progress to standard error. `-h` and `--help` work everywhere."
    yield "Every option has an environment variable; those that stand for a [setting](settings.md) can be written in"
    yield "`mlfn.yaml` too. `-o json` and `-o yaml` give a document with a `schema` field; a failure is then one"
    yield 'line of JSON on standard error, `{"schema": "mlfn.error/v1", "error": {…}}`. See also '
    yield "[exit codes](exit-codes.md)."
    yield ""
    context = click.Context(group, info_name="mlfn", auto_envvar_prefix="MLFN")
    yield from ("## mlfn", "", *_options(group, context))
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        yield from _command(command, context, name)


def settings() -> Iterator[str]:
    """Describe every setting."""
    yield from ("# Settings", "")
    yield "A flag wins over an environment variable, that over the project's `mlfn.yaml`, that over the user's file,"
    yield "that over the default; `function.env` is merged name by name. `mlfn config` shows each value with its"
    yield "origin, and `mlfn config init` writes an `mlfn.yaml` to start from."
    yield ""
    yield "- *Project file*: the nearest `mlfn.yaml` in this folder or above it; the search ends at the top of a"
    yield "  repository (a folder with `.git`), at the home folder, and below a folder of another user."
    yield "- *User file*: the file that `MLFN_CONFIG` names, else `config.yaml` in the user's configuration folder"
    yield "  (`~/.config/mlfn` on Linux)."
    yield "- Sizes are written `512Mi` or `1G`, durations `500ms`, `60s`, `2m` or `1h`. An empty variable is unset."
    yield "- Unknown keys and wrong values are refused, with their line."
    for section in ("", *SECTIONS):
        rows = [_setting(field) for field in FIELDS.values() if field.section == section]
        yield from ("", f"## {section or 'top level'}", "")
        if section:
            yield from (f"{inspect.getdoc(SECTIONS[section])}", "")
        yield from _table(("key", "takes", "default", "environment variable", "what and why"), rows)


def exit_codes() -> Iterator[str]:
    """Describe every exit code."""
    yield from ("# Exit codes", "")
    yield "They are part of the interface and stay. With `-o json` the `kind` stands in the error document on standard"
    yield 'error: `{"schema": "mlfn.error/v1", "error": {"kind", "message", "details", "hints", "exit_code"}}`.'
    yield ""
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.MlfnError)]
    rows = [("0", "", "Done.")]
    rows += [
        (str(kind.exit_code), f"`{kind.kind}`", (inspect.getdoc(kind) or "").splitlines()[0])
        for kind in sorted(kinds, key=lambda kind: kind.exit_code)
    ]
    rows += [(str(INTERRUPTED), "", "Interrupted with Ctrl-C, or with SIGTERM as pipelines do.")]
    yield from _table(("code", "kind", "meaning"), rows)
    yield ""
    yield "An answer of a function decides how `mlfn invoke` exits: 2 when the request is refused (4xx), 5 when it took"
    yield "too long (408, 504), 1 for any other failure. `mlfn inspect` exits with 2 when the model cannot be served."
    yield "An exception that nobody foresaw is a bug in mlfn: it says so, exits with 1, and `mlfn --debug` shows where."


def findings() -> Iterator[str]:
    """Describe every finding: of models, images, clusters and local functions."""
    yield from ("# Findings", "")
    yield "What `mlfn inspect` and `mlfn deploy` tell about a model, each with its fix. An *error* stops a deploy (exit"
    yield "code 2), a *warning* is told, an *info* is there for who looks. The code stands in `what` with `-o json`."
    yield "A deploy loads a model in an instance only: what `mlfn inspect` calls `does-not-load` ends it with exit code"
    yield "7."
    yield ""
    rows = [
        (f"`{what}`", kind.severity.value, _sentence(kind.meaning), _sentence(kind.fix))
        for what, kind in sorted(FINDINGS.items())
    ]
    yield from _table(("what", "severity", "meaning", "fix"), rows)
    yield from ("", "## Of a deployed function", "")
    yield "What `mlfn describe` tells about a function on the local platform, each an *error*."
    yield ""
    told = [
        (f"`{what}`", _sentence(meaning), _sentence(fix)) for what, (meaning, fix) in sorted(STATUS_FINDINGS.items())
    ]
    yield from _table(("what", "meaning", "fix"), told)
    yield from ("", "## Of an image", "")
    yield "What `mlfn build` and `mlfn deploy` tell about an image that was built all the same."
    yield ""
    built = [
        (f"`{what}`", severity.value, _sentence(meaning), _sentence(fix))
        for what, (severity, meaning, fix) in sorted(IMAGE_FINDINGS.items())
    ]
    yield from _table(("what", "severity", "meaning", "fix"), built)
    yield from ("", "## Of a cluster", "")
    yield "What a Kubernetes cluster, with Knative or without, says when a function cannot be or is not well. A deploy"
    yield "tells the cause and its fix, and ends as soon as waiting is of no use: with exit code 7 for what happens to"
    yield "a revision (the one before serves on), with 2, 3, 4, 10 or 11 for what is refused at once. `mlfn describe`"
    yield "tells the same of a function that is deployed."
    yield ""
    clusters = [
        (f"`{what}`", each.severity.value, _sentence(each.meaning), _sentence(each.fix))
        for what, each in sorted(CLUSTER_FINDINGS.items())
    ]
    yield from _table(("what", "severity", "meaning", "fix"), clusters)
    yield from ("", "## Of OpenWhisk", "")
    yield "What a deploy and `mlfn describe` tell about a function on OpenWhisk."
    yield ""
    actions = [
        (f"`{what}`", severity.value, _sentence(meaning), _sentence(fix))
        for what, (severity, meaning, fix) in sorted(OPENWHISK_FINDINGS.items())
    ]
    yield from _table(("what", "severity", "meaning", "fix"), actions)


def server_settings() -> Iterator[str]:
    """Describe every variable of the function server."""
    yield from ("# Settings of the function server", "")
    yield "What `python -m mlfn_runtime` reads from its environment: in an image, or wherever the server is started"
    yield "without `mlfn serve` (whose [options](commands.md#mlfn-serve) stand for the common ones). `PORT` and `HOST`"
    yield "are read too; `__OW_API_HOST`, which OpenWhisk sets, asks for OpenWhisk's contract."
    yield ""
    why = {**_field_reasons(ServerSettings), **_field_reasons(DoorSettings)}
    rows = [
        (
            f"`MLFN_{name.upper()}`",
            f"`{str(field.type).removesuffix(' | None')}`",
            "" if field.default in ("", None) else f"`{field.default}`",
            why[name],
        )
        for name, field in ServerSettings.__dataclass_fields__.items()
        if name != "model_path"
    ]
    rows.insert(0, ("`MLFN_MODEL_PATH`", "`str`", "", why["model_path"]))
    yield from _table(("variable", "type", "default", "what and why"), rows)


def metrics() -> Iterator[str]:
    """Describe every metric."""
    yield from ("# Metrics", "")
    yield "`GET /metrics` of a function's server, in Prometheus's text format. The numbers are plain counters in the"
    yield "request path and are written out only when somebody asks."
    yield ""
    yield from _table(("metric", "type", "what"), [(f"`{m.name}`", m.type, m.help) for m in METRICS])


def _field_reasons(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    reasons: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            assert isinstance(below.value, ast.Constant)
            reasons[field.target.id] = inspect.cleandoc(str(below.value.value)).replace("``", "`").replace("\n", " ")
    return reasons


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, parent=parent, info_name=name)
    yield from ("", f"## {context.command_path}", "")
    yield from ("```", f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}", "```", "")
    about, _, examples = inspect.cleandoc(command.help or "").partition("\b\nExamples:\n")
    yield about.strip()
    if examples:
        yield from ("", "```sh", inspect.cleandoc(examples), "```")
    yield from ("", *_options(command, context))
    if isinstance(command, click.Group):
        for sub, each in command.commands.items():
            yield from _command(each, context, sub)


def _options(command: click.Command, context: click.Context) -> list[str]:
    rows = [_option(param, context) for param in command.params if isinstance(param, click.Option)]
    return _table(("option", "environment variable", "what"), rows) if rows else []


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    by_parameter = {field.parameter: field for field in FIELDS.values()}
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    field = by_parameter.get(option.name or "")
    if field is not None:
        return names, f"`{field.env}`", f"setting [{field.key}](settings.md#{field.section or 'top-level'})"
    extra = option.get_help_extra(context)
    variables = ", ".join(f"`{name}`" for name in extra.get("envvars", ()))
    choices = f" `{option.metavar}`" if option.metavar else ""
    default = f" [default: {extra['default']}]" if "default" in extra else ""
    return names, variables, f"{(option.help or '').replace('  [', ' [')}{default}{_escaped(choices)}"


def _setting(field: Field) -> tuple[str, ...]:
    shown = field.kind.show(field.default)
    return (
        f"`{field.key}`",
        field.kind.expects,
        f"`{shown}`" if shown else "",
        f"`{field.env}`",
        _sentence(field.reason),
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(heads)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
