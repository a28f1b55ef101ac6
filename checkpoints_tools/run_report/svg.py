"""Figures of matplotlib as SVG that stands inside an HTML page and takes the page's colours and fonts.

Figures are drawn in the colours of this file, which nothing else has; in the SVG they become CSS variables, so that
one picture serves the light and the dark scheme.
"""

from __future__ import annotations

import html
import io
import re

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, GRID = "#010101", "#020202", "#030303"
RUNS = tuple(f"#0a000{i}" for i in range(1, 7))
MODES = {"llm": "#0b0001", "mapping": "#0b0002", "layalign": "#0b0003"}
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line",
             **{color: f"--run-{i}" for i, color in enumerate(RUNS, start=1)},
             **{color: f"--{mode}" for mode, color in MODES.items()}}
WIDTH = 4.2  # inches; in the narrowest column of the page a point of text is a little more than a pixel

matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "layalign", "font.size": 9.5, "font.family": "sans-serif",
    "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": GRID, "axes.titlecolor": MUTED,
    "axes.titlelocation": "left", "axes.titlesize": "medium", "axes.titlepad": 6, "axes.labelsize": "medium",
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.facecolor": "none",
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
    "xtick.labelsize": "small", "ytick.labelsize": "small", "ytick.left": False, "figure.facecolor": "none",
    "lines.linewidth": 1.8, "lines.solid_capstyle": "round", "figure.constrained_layout.h_pad": 0.06,
})


def new_figure(height: float) -> Figure:
    """An empty figure of one column. `height` in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def inline_svg(figure: Figure, number: int, label: str) -> str:
    """The figure as an <svg> element. `number`: of the figure in the page. `label`: what a screen reader says."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'( id="|url\(#|href="#)', rf"\1f{number}-", text)
    text = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    start, rest = text.split(">", 1)
    start = re.sub(r' (width|height|version)="[^"]*"', "", start) + f' role="img" aria-label="{html.escape(label)}"'
    return re.sub(r"\n\s*", "\n", f"{start}>{rest}").strip()
