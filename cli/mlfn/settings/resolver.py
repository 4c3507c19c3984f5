"""Find out what every setting is, and say where each value came from.

A flag wins over an ``MLFN_*`` environment variable, that over the project's mlfn.yaml, that over the user's file, that
over the default; ``function.env`` is merged name by name. Everything that is wrong in any source is reported at once.
The environment and the folder are arguments: only the settings files are read here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlfn.errors import InvalidInput
from mlfn.nearest import nearest
from mlfn.settings.fields import FIELDS, SECTIONS, Field, Settings
from mlfn.settings.values import BadValue, show, without_login

__all__ = ["Origin", "Resolved", "Source", "project_file", "resolve", "resolve_here", "user_file", "user_folder"]

PROJECT_FILE = "mlfn.yaml"
USER_FILE = "config.yaml"


@dataclass(frozen=True, slots=True)
class Origin:
    """Say where a value came from."""

    kind: str
    """``flag``, ``environment``, ``project``, ``user`` or ``default``."""
    where: str = ""
    """``--port``, ``MLFN_SERVE_PORT``, ``/home/me/iris/mlfn.yaml:3``."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Hold the settings of one run and the origin of each, by key."""

    settings: Settings
    origins: Mapping[str, Origin]
    files: tuple[Path, ...]
    """The settings files that were read, the stronger one first."""

    def value(self, key: str) -> object:
        """Return the value of a setting by its key."""
        return _get(self.settings, FIELDS[key])

    def texts(self, section: str) -> dict[str, str]:
        """Return a section as texts by key, what a platform takes; settings left unset are left out."""
        prefix = f"{section}."
        found = {key: str(self.value(key)) for key in FIELDS if key.startswith(prefix)}
        return {key: value for key, value in found.items() if value}

    def for_platform(self) -> dict[str, str]:
        """Return what any platform may want to know of where it is: ``local``, ``cluster``, ``openwhisk``."""
        return {**self.texts("local"), **self.texts("cluster"), **self.texts("openwhisk")}


@dataclass(frozen=True, slots=True)
class Source:
    """Hold one raw value: the text of a flag, a variable or a file."""

    key: str
    origin: Origin
    value: str | Mapping[str, str] | tuple[str, ...] | None
    folder: Path
    """What a relative path is relative to."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Tell one thing that is wrong in a source."""

    message: str
    hint: str = ""


def resolve_here(flags: Mapping[str, object]) -> Resolved:
    """Return every setting for a command of this process: its environment, its working folder."""
    try:
        folder = Path.cwd()
    except OSError as error:
        raise InvalidInput(
            f"the working folder cannot be used: {error.strerror}", hints=("cd to a folder that exists",)
        ) from error
    return resolve(flags, os.environ, folder)


def resolve(flags: Mapping[str, object], env: Mapping[str, str], folder: Path) -> Resolved:
    """Return every setting for a command that was given ``flags`` (by parameter name) in ``folder``.

    Raises InvalidInput with all problems of all sources.
    """
    problems: list[Problem] = []
    files = [(kind, path) for kind, path in (("project", project_file(folder)), ("user", user_file(env))) if path]
    weakest_first = [source for kind, path in reversed(files) for source in _of_file(kind, path, problems)]
    weakest_first += [*_of_environment(env, folder), *_of_flags(flags, folder)]

    values: dict[str, object] = {key: field.default for key, field in FIELDS.items()}
    origins = dict.fromkeys(FIELDS, Origin("default"))
    for source in weakest_first:
        try:
            value = _read(source)
        except BadValue as error:
            problems.append(_bad_value(source, error))
            continue
        earlier = values[source.key]
        merged = isinstance(value, dict) and isinstance(earlier, dict)
        values[source.key] = {**earlier, **value} if merged else value  # type: ignore[dict-item]  # merged says so
        origins[source.key] = source.origin
    problems += _contradictions(values, origins)
    if problems:
        raise _invalid(problems)
    return Resolved(_assemble(values), origins, tuple(path for _, path in files))


def project_file(folder: Path) -> Path | None:
    """Return the nearest mlfn.yaml in ``folder`` or above it, None where there is none.

    The search ends at the top of a repository, at the home folder, and below any folder that belongs to someone else,
    so that nobody's file in a shared place changes what a command does.
    """
    here = folder.absolute()
    home = _home()
    for each in (here, *here.parents):
        if each.stat().st_uid != os.geteuid():
            return None
        candidate = each / PROJECT_FILE
        if candidate.is_file():
            return candidate
        if each == home or (each / ".git").exists():
            return None
    return None


def user_file(env: Mapping[str, str]) -> Path | None:
    """Return the user's own settings file: ``MLFN_CONFIG``, else config.yaml in the user's configuration folder."""
    named = env.get("MLFN_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise InvalidInput(f"MLFN_CONFIG names {path}, which is not a file", hints=("unset MLFN_CONFIG",))
        return path
    folder = user_folder(env)
    try:
        return folder / USER_FILE if folder and (folder / USER_FILE).is_file() else None
    except OSError:
        # Someone else's folder: HOME still names it after `sudo -u` or `su`.
        return None


def user_folder(env: Mapping[str, str]) -> Path | None:
    """Return the folder of the user's own settings on this system; None for a user without a home."""
    if sys.platform == "linux":
        # What platformdirs says too; importing it takes 13 ms, a third of what `mlfn serve` adds to its server.
        stated = env.get("XDG_CONFIG_HOME", "").strip()
        home = _home()
        folder = Path(stated) if stated else home and home / ".config"
        return folder and folder / "mlfn"
    from platformdirs import user_config_path

    return user_config_path("mlfn", appauthor=False)


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        # A container that runs under a number: neither HOME nor an entry in the user database.
        return None


def _of_file(kind: str, path: Path, problems: list[Problem]) -> Iterator[Source]:
    from mlfn.settings.files import read_settings_file

    for entry in read_settings_file(path):
        where = f"{path}:{entry.line}"
        if entry.key in FIELDS:
            yield Source(entry.key, Origin(kind, where), entry.value, path.parent)
        elif entry.key in SECTIONS:
            if entry.value is not None:
                problems.append(Problem(f"{where}: {entry.key} is a section, its settings stand indented below it"))
        else:
            near = nearest(entry.key, (*FIELDS, *SECTIONS))
            hint = f"did you mean {near!r}?" if near else "mlfn config lists the settings"
            problems.append(Problem(f"{where}: unknown setting {entry.key!r}", hint))


def _of_environment(env: Mapping[str, str], folder: Path) -> Iterator[Source]:
    for key, field in FIELDS.items():
        # An empty variable is an unset one: it is how shells and CI systems say "nothing".
        if env.get(field.env):
            yield Source(key, Origin("environment", field.env), env[field.env], folder)


def _of_flags(flags: Mapping[str, object], folder: Path) -> Iterator[Source]:
    for key, field in FIELDS.items():
        given = flags.get(field.parameter)
        if given is not None and given != ():
            value = tuple(map(str, given)) if isinstance(given, tuple) else show(given)
            yield Source(key, Origin("flag", field.option), value, folder)


def _read(source: Source) -> object:
    field, value = FIELDS[source.key], source.value
    if field.kind.read_pairs and isinstance(value, Mapping | tuple):
        pairs = [f"{key}={text}" for key, text in value.items()] if isinstance(value, Mapping) else value
        return field.kind.read_pairs(pairs)
    if not isinstance(value, str) or not value.strip():
        raise BadValue(f"expected {field.kind.expects}")
    found = field.kind.read(value.strip())
    return str(source.folder / Path(found).expanduser()) if field.kind.name == "PATH" else found


def _bad_value(source: Source, error: BadValue) -> Problem:
    file = source.origin.kind in ("project", "user")
    where = f"{source.origin.where}: {source.key}" if file else source.origin.where
    seen = source.value if isinstance(source.value, str) else ""
    message = f"{where}: {without_login(seen)!r} cannot be used" if seen else f"{where}: no usable value"
    hint = ""
    if error.corrected:
        glue = {"flag": " ", "environment": "="}.get(source.origin.kind, ": ")
        name = source.key.rpartition(".")[2] if file else source.origin.where
        hint = f"try {name}{glue}{error.corrected}"
    return Problem(f"{message}: {error.expected}", hint)


def _contradictions(values: Mapping[str, object], origins: Mapping[str, Origin]) -> Iterator[Problem]:
    least, most = values["function.min_scale"], values["function.max_scale"]
    if isinstance(least, int) and isinstance(most, int) and 0 < most < least:
        names = [origins[f"function.{each}"].where or each for each in ("min_scale", "max_scale")]
        yield Problem(f"{names[0]} is {least} and {names[1]} is {most}: the most must be at least the least")


def _invalid(problems: list[Problem]) -> InvalidInput:
    hints = tuple(dict.fromkeys(problem.hint for problem in problems if problem.hint))
    if len(problems) == 1:
        return InvalidInput(problems[0].message, hints=hints)
    listed = "\n".join(problem.message for problem in problems)
    return InvalidInput(f"{len(problems)} settings cannot be used", hints=hints, details=listed)


def _assemble(values: Mapping[str, object]) -> Settings:
    settings = Settings()
    for section in ("", *SECTIONS):
        mine = {field.attribute: values[key] for key, field in FIELDS.items() if field.section == section}
        if section:
            changed = {section: replace(getattr(settings, section), **mine)}
            settings = replace(settings, **changed)
        else:
            settings = replace(settings, **mine)  # type: ignore[arg-type]  # each reader gives its field's type
    return settings


def _get(settings: Settings, field: Field) -> object:
    return getattr(getattr(settings, field.section) if field.section else settings, field.attribute)
