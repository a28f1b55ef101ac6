"""The frame of the page: head, figures with captions, tables, and how numbers are written."""

from __future__ import annotations

import html
import math
import pathlib
import re
from typing import Sequence

from matplotlib.figure import Figure

from run_report.run_data import Run, Score
from run_report.svg import inline_svg

escaped = html.escape


class Page:
    """Collects the parts of the page and counts its figures."""

    def __init__(self, runs: Sequence[Run], title: str) -> None:
        self.runs, self.title = runs, title
        self.figures = 0
        self.body: list[str] = []
        self.sections: list[tuple[str, str]] = []

    def section(self, title: str, words: str = "") -> None:
        """Begins a part of the page. `words`: what to know before its figures are read."""
        anchor = title.lower().replace(" ", "-")
        self.sections.append((anchor, title))
        self.add(f'<h2 id="{anchor}">{escaped(title)}</h2>', f"<p>{escaped(words)}</p>" if words else "")

    def add(self, *parts: str) -> None:
        self.body += [part for part in parts if part]

    def figure(self, drawn: Figure, title: str, caption: str) -> str:
        """The figure with its number, to be put into a grid."""
        self.figures += 1
        svg = inline_svg(drawn, self.figures, f"{title}. {caption}")
        return (f"<figure><h3>{escaped(title)}</h3>\n{svg}\n"
                f"<figcaption>Figure {self.figures}. {escaped(caption)}</figcaption></figure>")

    def grid(self, parts: Sequence[str]) -> None:
        """Figures and cards, as many in a row as there is room for."""
        self.add('<div class="grid">', *parts, "</div>")

    def missing(self, what: str) -> None:
        """Says why there is no picture."""
        self.add(f'<p class="muted">{escaped(what)}</p>')

    def text(self) -> str:
        links = "".join(f'<li><a href="#{anchor}">{escaped(title)}</a></li>' for anchor, title in self.sections)
        style = pathlib.Path(__file__).with_name("page.css").read_text(encoding="utf-8")
        lines = ['<!DOCTYPE html>', '<html lang="en">', "<head>", '<meta charset="utf-8">',
                 '<meta name="viewport" content="width=device-width, initial-scale=1">',
                 f"<title>{escaped(self.title)}</title>", f"<style>\n{style}</style>", "</head>", "<body>",
                 f"<h1>{escaped(self.title)}</h1>",
                 f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav>', *self.body, "</body>", "</html>"]
        return "\n".join(lines) + "\n"


def digits(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def size(count: float) -> str:
    unit, power = ("GiB", 30) if count >= 2**30 else ("MiB", 20)
    return f"{count / 2**power:.3g} {unit}" if count < 1000 * 2**power else f"{count / 2**power:.0f} {unit}"


def interval(entry: Score) -> str:
    return f"{100 * entry.accuracy:.1f} <small>{100 * entry.low:.1f} – {100 * entry.high:.1f}</small>"


def wrappable(name: str) -> str:
    """A name that may go on in the next line behind a mark."""
    return re.sub("([-_./])", r"\1<wbr>", escaped(name))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", means: Sequence[str] = ()) -> str:
    """Cells but the first of a row are HTML. `means`: names of rows to print bold."""
    top = "".join(f'<th scope="col">{wrappable(cell)}</th>' for cell in head)
    lines = ""
    for name, *cells in rows:
        kind = ' class="mean"' if name in means else ""
        columns = "".join(f"<td>{cell}</td>" for cell in cells)
        lines += f'<tr{kind}><th scope="row">{escaped(name)}</th>{columns}</tr>\n'
    words = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f'<div class="scroll" tabindex="0"><table>{words}<thead><tr>{top}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def card(title: str, content: str) -> str:
    return f'<div class="card"><h3>{escaped(title)}</h3>{content}</div>'


def named(runs: Sequence[Run], run: Run, text: str) -> str:
    """The text, of several runs with the run's name."""
    return text if len(runs) == 1 else f"{run.label}: {text}"
