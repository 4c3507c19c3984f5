"""Objects of an API as YAML that every reader takes alike: some read 1e3 as a number and `on` as true. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml import SafeDumper
    from yaml.nodes import ScalarNode

__all__ = ["HEAD", "document", "documents"]

HEAD = "# Written by `mlfn manifest`"

_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./-]|:(?=[A-Za-z0-9_./-]))*")
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"])


def documents(objects: Iterable[Mapping[str, Any]]) -> str:
    """Return several objects as one text."""
    return "---\n".join(document(each) for each in objects)


def document(thing: Mapping[str, Any]) -> str:
    """Return one object."""
    import yaml

    return yaml.dump(thing, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=2**31)


def _dumper() -> type[SafeDumper]:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quote every text that is not plainly one, and never refer to a value by an alias."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    Dumper.add_representer(str, _text)
    return Dumper


def _text(dumper: SafeDumper, value: str) -> ScalarNode:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else "'")
