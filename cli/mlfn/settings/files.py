"""Read mlfn.yaml: the text of every value, with the line it stands on.

The only door to settings files, and the only place that imports PyYAML for them; not entered where no file exists. It
knows no setting: which keys exist and what they take is the resolver's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfn.errors import InvalidInput

__all__ = ["Entry", "read_settings_file"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold one value of a settings file as it is written there."""

    key: str
    line: int
    value: str | dict[str, str] | None
    """A mapping below the second level stays one; None where something else than text or a mapping stands."""


def read_settings_file(path: Path) -> tuple[Entry, ...]:
    """Return all entries of a file. Raises InvalidInput: unreadable, not YAML, a key twice."""
    import yaml

    try:
        document = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InvalidInput(f"{where}: is not YAML: {getattr(error, 'problem', None) or error}") from error
    if document is None:
        return ()
    if not isinstance(document, yaml.MappingNode):
        raise InvalidInput(f"{path}: expected settings as 'key: value' lines", hints=("mlfn config init writes one",))
    return tuple(_entries(path, document))


def _entries(path: Path, document: Any) -> Iterator[Entry]:
    for key, line, node in _pairs(path, document):
        # The sections are the first level; whatever is nested deeper is one value (function.env).
        if node.id == "mapping":
            yield from (Entry(f"{key}.{name}", row, _value(path, each)) for name, row, each in _pairs(path, node))
        else:
            yield Entry(key, line, _value(path, node))


def _value(path: Path, node: Any) -> str | dict[str, str] | None:
    if node.id == "scalar":
        return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)
    if node.id == "mapping":
        pairs = list(_pairs(path, node))
        if all(each.id == "scalar" for _, _, each in pairs):
            return {name: str(each.value) for name, _, each in pairs}
    return None


def _pairs(path: Path, mapping: Any) -> Iterator[tuple[str, int, Any]]:
    seen: dict[str, int] = {}
    for key_node, node in mapping.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in seen:
            raise InvalidInput(f"{path}:{line}: {key!r} stands twice, first on line {seen[key]}")
        seen[key] = line
        yield key, line, node
