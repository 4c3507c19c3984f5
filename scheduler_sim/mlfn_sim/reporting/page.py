"""Write a page of HTML that holds all it shows: no script, no font, no picture from elsewhere.

A page is a title and parts in their order. The same parts give the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeAlias

from mlfn_sim.aside import written_aside

__all__ = ["Heading", "Page", "Paragraph", "Part", "Picture", "Table", "write_page"]

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #d8dee4; vertical-align: top; }
td.number, th.number { text-align: right; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #57606a; font-size: .9rem; }
p.note { color: #57606a; } .wide { overflow-x: auto; }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """Begin a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Say something; plain text."""

    text: str
    note: bool = False
    """Set small: an explanation beside the matter."""


@dataclass(frozen=True, slots=True)
class Table:
    """Show rows; cells that are numbers, or begin with one, stand to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """Show a PNG."""

    png: bytes
    caption: str


Part: TypeAlias = Heading | Paragraph | Table | Picture


@dataclass(frozen=True, slots=True)
class Page:
    """Hold a page."""

    title: str
    parts: tuple[Part, ...]

    def html(self) -> str:
        """Return the page's text."""
        body = "\n".join(_shown(part) for part in self.parts)
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        title = escape(self.title)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}<title>{title}</title>\n<style>{_STYLE}</style></head>\n'
            f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
        )


def write_page(page: Page, path: Path) -> None:
    """Write a page. Raises NotWritten; what was at ``path`` before is then still there."""
    with written_aside(path) as aside:
        aside.write_text(page.html(), encoding="utf-8")


def _shown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Paragraph(text, note):
            return f"<p{' class=note' if note else ''}>{escape(text)}</p>"
        case Table(heads, rows):
            return _table(heads, rows)
        case Picture(png, caption):
            data = base64.b64encode(png).decode()
            alt = escape(caption, quote=True)
            return (
                f'<figure><img src="data:image/png;base64,{data}" alt="{alt}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numbers = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(heads))]

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = [" class=number" if number else "" for number in numbers]
        inner = (f"<{tag}{mark}>{escape(cell)}</{tag}>" for mark, cell in zip(marks, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<div class=wide><table>\n<thead>{line('th', heads)}</thead>\n<tbody>\n{body}\n</tbody></table></div>"


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] == "-"
