"""Text that people keep and edit, written once: settings files, service units and what later platforms add.

``render`` fills in a template strictly: a value that is missing is an error, never an empty place. Knows nothing of
what it writes about; the values come from the caller. Jinja2 is imported at the first use (40 ms).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["TemplateError", "names", "render"]

SUFFIX = ".j2"


class TemplateError(Exception):
    """A template does not exist, or cannot be filled in with the values that were given."""


def names() -> tuple[str, ...]:
    """Return the templates there are, sorted, such as ``mlfn.yaml.j2``."""
    from importlib.resources import files

    return tuple(sorted(each.name for each in files(__name__).iterdir() if each.name.endswith(SUFFIX)))


def render(name: str, values: Mapping[str, object]) -> str:
    """Return the text of a template with the values filled in. Raises TemplateError."""
    import jinja2

    from mlfn_templates.quoting import FILTERS

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, ""),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # what is written is YAML, units, shell; each value is quoted by a filter
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    try:
        return environment.get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"no template is called {name!r}; there are {', '.join(names())}") from error
    except (jinja2.TemplateError, ValueError) as error:  # a filter refuses a value that its language cannot hold
        raise TemplateError(f"the template {name} cannot be filled in: {error}") from error
