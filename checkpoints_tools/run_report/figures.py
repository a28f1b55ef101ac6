"""Draws the figures. In all of them a run has one colour and one kind of line."""

from __future__ import annotations

import math
from typing import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from run_report.run_data import MODES, Evaluation, Representations, Run, Score, Stage
from run_report.svg import INK, MUTED, RUNS, new_figure
from run_report.svg import MODES as MODE_COLORS

LINES = ("-", "--", ":", "-.")
MOST_POINTS = 700  # of a curve; more cannot be seen
MOST_SENTENCES = 40  # of a language in a projection
MARKERS = "o^sD"  # of languages; each with all colours before the next
MOST_DOTS = 25  # of a curve in a cell; more run into each other
UNTRAINED = "untrained"  # the name of the weights that a run begins with
SMOOTH = 20  # a curve is smoothed over this part of a stage
# Negative to positive through white, told apart with every kind of colour blindness and in grey by their ends' names.
DIVERGING = LinearSegmentedColormap.from_list("layalign", ["#7f3b08", "#e08214", "#fee0b6", "#ffffff",
                                                           "#d1e5f0", "#4393c3", "#053061"])


def color(run: int) -> str:
    return RUNS[run % len(RUNS)]


def dashes(run: int) -> str:
    return LINES[run % len(LINES)]


def window(length: int) -> int:
    """Over how many steps a curve of so many steps is smoothed: an odd number."""
    return length // SMOOTH // 2 * 2 + 1


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of the window around each value, less at the ends; what is not finite is passed over."""
    kernel = np.ones(window(values.size))
    finite = np.isfinite(values)
    count = np.convolve(finite, kernel, "same")
    total = np.convolve(np.where(finite, values, 0), kernel, "same")
    return np.divide(total, count, out=np.full(values.size, np.nan), where=count > 0.5)


def thinned(*curves: np.ndarray) -> list[np.ndarray]:
    """Every n-th point, so that at most MOST_POINTS are left, and the last one."""
    size = curves[0].size
    keep = np.unique(np.append(np.arange(0, size, size // MOST_POINTS + 1), size - 1))
    return [curve[keep] for curve in curves]


def named(ax: Axes, unit: str, x_label: str = "step") -> None:
    """The y axis's unit stands above it, where it is read without turning the head."""
    ax.set_title(unit)
    ax.set_xlabel(x_label)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def plot_steps(ax: Axes, x: np.ndarray, values: np.ndarray, run: int) -> None:
    """Each step pale, the smoothed curve over it."""
    if values.size == 0:
        return
    ax.plot(*thinned(x, values), color=color(run), alpha=0.3, linewidth=0.7)
    ax.plot(*thinned(x, smoothed(values)), color=color(run), linestyle=dashes(run))


def plot_line(ax: Axes, x: np.ndarray, values: np.ndarray, run: int) -> None:
    """Each step, not smoothed."""
    if values.size:
        ax.plot(*thinned(x, values), color=color(run), linestyle=dashes(run))


def plot_points(ax: Axes, points: Sequence[tuple[float, float]], run: int) -> None:
    """A curve of few points, each with a dot."""
    if points:
        dots = "o" if len(points) <= MOST_DOTS else "none"
        ax.plot(*zip(*points), dashes(run), color=color(run), marker=dots, markersize=2.8)


def over_stages(runs: Sequence[Run], key: str, unit: str, plot: Callable[..., None], scale: float = 1) -> Figure:
    """A measure of every step, the stages one behind the other."""
    figure = new_figure(2.4)
    ax = figure.subplots()
    for index, run in enumerate(runs):
        for stage in run.stages:
            plot(ax, stage.steps["step"] + run.offset(stage.number), stage.steps[key] * scale, index)
    mark_stages(ax, runs)
    named(ax, unit, "step, counted through all stages")
    ax.set_ylim(bottom=0)
    return figure


def mark_stages(ax: Axes, runs: Sequence[Run]) -> None:
    """A thin line where a stage begins that is not the first."""
    for boundary in sorted({run.offset(stage.number) for run in runs for stage in run.stages[1:]}):
        ax.axvline(boundary, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))


def loss(runs: Sequence[Run], number: int) -> Figure:
    """Of one stage: training and held-out."""
    figure = new_figure(2.6)
    ax = figure.subplots()
    for index, run, stage in stages(runs, number):
        plot_steps(ax, stage.steps["step"], stage.steps["loss"], index)
        if held_out := [(evaluation["step"], evaluation["loss"]) for evaluation in stage.evaluations]:
            ax.plot(*zip(*held_out), "o", color=color(index), markersize=4.5)
    named(ax, "loss, nats a label token")
    return figure


def stages(runs: Sequence[Run], number: int) -> Iterable[tuple[int, Run, Stage]]:
    """The stage of this number of every run that has it."""
    return ((index, run, run.stages[number - 1]) for index, run in enumerate(runs) if number <= len(run.stages))


def learning_rate(runs: Sequence[Run]) -> Figure:
    figure = over_stages(runs, "lr", "learning rate", plot_line)
    figure.axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("e-0", "e-")))
    return figure


def speed(runs: Sequence[Run]) -> Figure:
    figure = over_stages(runs, "tokens_per_s", "LLM tokens a second", plot_steps)
    figure.axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return figure


def memory(runs: Sequence[Run]) -> Figure:
    return over_stages(runs, "peak_memory_bytes", "peak memory of the fullest rank, GiB", plot_line, 2**-30)


def cells(names: Sequence[str], unit: str, x_label: str) -> tuple[Figure, list[Axes]]:
    """A small axis for each name, all to one scale."""
    columns = 2 if len(names) <= 10 else 3 if len(names) <= 18 else 4
    rows = math.ceil(len(names) / columns)
    figure = new_figure(0.6 + 0.92 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, name in zip(grid, names):
        ax.set_title(name, color=INK, pad=3, fontsize="small" if columns > 2 else "medium")
    for ax in grid[len(names):]:
        ax.set_visible(False)
    figure.supxlabel(x_label, color=MUTED, fontsize="medium")
    figure.supylabel(unit, color=MUTED, fontsize="medium")
    grid[0].xaxis.set_major_locator(MaxNLocator(3 if columns == 2 else 2, integer=True))
    return figure, list(grid[:len(names)])


def languages(runs: Sequence[Run], number: int) -> list[str]:
    """Of a stage's held-out samples, in the order of the files."""
    return list(dict.fromkeys(language for _, _, stage in stages(runs, number) for evaluation in stage.evaluations
                              for language in evaluation["language_perplexity"]))


def perplexity(runs: Sequence[Run], number: int) -> Figure:
    """Of one stage: a cell a language. Of a single run the mean of all languages is grey in each."""
    figure, axes = cells(languages(runs, number), "held-out perplexity", "step")
    seen: list[float] = []
    for index, _, stage in stages(runs, number):
        steps = [evaluation["step"] for evaluation in stage.evaluations]
        for ax, language in zip(axes, languages(runs, number)):
            values = [evaluation["language_perplexity"].get(language, math.nan) for evaluation in stage.evaluations]
            if len(runs) == 1:
                ax.plot(steps, [line["perplexity"] for line in stage.evaluations], color=MUTED, linewidth=0.9)
            plot_points(ax, list(zip(steps, values)), index)
            seen += [value for value in values if math.isfinite(value)]
    if seen and max(seen) > 4 * min(seen):
        logarithmic(axes[0], min(seen), max(seen))
    return figure


def logarithmic(ax: Axes, low: float, high: float) -> None:
    """Marks at 1, 2, 5, 10, ..., the wider the range the fewer."""
    ax.set_yscale("log")
    ratio = high / low
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 15 else (1, 3) if ratio < 200 else (1,)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def benchmark(runs: Sequence[Run], task: str) -> Figure:
    """The accuracy that a benchmark had while training, mean of the languages."""
    figure = new_figure(2.4)
    ax = figure.subplots()
    for index, run in enumerate(runs):
        points = [(entry["step"] + run.offset(stage.number), entry["accuracy"]) for stage in run.stages
                  for entry in stage.benchmarks if entry["task"] == task]
        plot_points(ax, points, index)
    mark_stages(ax, runs)
    named(ax, f"{task} accuracy, mean of the languages", "step, counted through all stages")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    ax.set_ylim(bottom=0)
    return figure


def gates(runs: Sequence[Run]) -> Figure:
    """A cell an LLM layer. Runs with other layers than the first one's share its cells by position."""
    count = max(point.values.size for run in runs for point in run.gates)
    widest = next(run for run in runs for point in run.gates if point.values.size == count)
    figure, axes = cells([f"layer {name}" for name in widest.layer_names("language_layers", count)],
                         gate_unit(runs), "step, counted through all stages")
    for index, run in enumerate(runs):
        steps = [point.step + run.offset(point.stage) for point in run.gates]
        for layer, ax in enumerate(axes):
            points = [(x, point.values[layer]) for x, point in zip(steps, run.gates) if layer < point.values.size]
            plot_points(ax, points, index)
    for ax in axes:
        ax.axhline(0, color=MUTED, linewidth=0.7)
        mark_stages(ax, runs)
    return figure


def last_gates(runs: Sequence[Run]) -> Figure:
    """The newest gates over the depth of the LLM."""
    figure = new_figure(2.6)
    ax = figure.subplots()
    names: list[str] = []
    for index, run in enumerate(runs):
        if run.gates:
            values = run.gates[-1].values
            names = max(names, run.layer_names("language_layers", values.size), key=len)
            ax.plot(values, dashes(index), color=color(index), marker="o", markersize=4)
    ax.axhline(0, color=MUTED, linewidth=0.7)
    named(ax, gate_unit(runs), "layer of the LLM")
    step = math.ceil(len(names) / 16)
    ax.set_xticks(range(0, len(names), step), names[::step])
    return figure


def gate_unit(runs: Sequence[Run]) -> str:
    kinds = {run.dynamic_gate for run in runs if run.gates}
    return "bias of the gate" if kinds == {True} else "gate" if kinds == {False} else "gate, or bias of a dynamic gate"


def mixing(run: Run, fc1: np.ndarray, part: int) -> Figure:
    """fc1 for the keys (part 0) or the values (part 1): encoder layers to the right, LLM layers down."""
    limit = float(np.nanmax(np.abs(fc1))) or 1.0
    weights = fc1[part::2]
    rows, columns = weights.shape
    figure = new_figure(1.15 + rows * min(0.3, 6 / rows))
    ax = figure.subplots()
    image = ax.pcolormesh(weights, cmap=DIVERGING, vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.8)
    ax.invert_yaxis()
    ax.grid(False)
    label_ticks(ax.set_xticks, run.layer_names("encoder_layers", columns), 12)
    label_ticks(ax.set_yticks, run.layer_names("language_layers", rows), 16)
    ax.set_title("layer of the LLM")
    ax.set_xlabel("layer of the encoder (0: its embeddings)")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if columns <= 8 and rows <= 16:
        for (row, column), value in np.ndenumerate(weights):
            shade = "#ffffff" if abs(value) > 0.62 * limit else "#111111"
            text = f"{value:.2f}".replace("-0.00", "0.00")
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=shade, fontsize=8)
    bar = figure.colorbar(image, ax=ax, location="top", fraction=0.05, aspect=40, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def label_ticks(set_ticks: Callable[..., object], names: Sequence[str], most: int) -> None:
    """Numbers in the middle of the cells, every n-th where there is no room for all."""
    step = math.ceil(len(names) / most)
    set_ticks([i + 0.5 for i in range(0, len(names), step)], names[::step])


def scores(evaluations: Sequence[Evaluation], highest: float) -> Figure:
    """Bars of one task: languages and means, in each the modes. The axis goes up to the tenth above `highest`."""
    names = list(dict.fromkeys(entry.name for evaluation in evaluations for entry in evaluation.scores))
    figure = new_figure(0.7 + len(names) * (0.1 + 0.13 * len(evaluations)))
    ax = figure.subplots()
    height = 0.8 / len(evaluations)
    for index, evaluation in enumerate(evaluations):
        found = {entry.name: entry for entry in evaluation.scores}
        for row, name in enumerate(names):
            if name in found:
                bar(ax, row - 0.4 + (index + 0.5) * height, height, found[name], MODE_COLORS[evaluation.mode])
    ax.set_yticks(range(len(names)), names, color=INK, fontsize="medium")
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, min(1.0, math.ceil(10 * highest) / 10))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.grid(False, axis="y")
    ax.set_xlabel("accuracy")
    return figure


def bar(ax: Axes, y: float, height: float, entry: Score, fill: str) -> None:
    ax.barh(y, entry.accuracy, height * 0.86, color=fill)
    ax.plot([entry.low, entry.high], [y, y], color=INK, linewidth=1)


def modes_of(evaluations: Sequence[Evaluation]) -> list[str]:
    return [mode for mode in MODES if any(evaluation.mode == mode for evaluation in evaluations)]


def language_style(index: int) -> dict[str, str]:
    """Of a language's dots: English, which is the first, in the ink's colour."""
    if index == 0:
        return {"color": INK, "marker": "x"}
    return {"color": color(index - 1), "marker": MARKERS[(index - 1) // len(RUNS) % len(MARKERS)]}


def plane(states: np.ndarray) -> tuple[np.ndarray, float]:
    """Vectors [languages, sentences, width] on their two principal components, and these ones' share of the variance."""
    flat = states.reshape(-1, states.shape[-1])
    centred = flat - flat.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((flat.shape[0], 2))
    count = min(2, sizes.size)
    points[:, :count] = left[:, :count] * sizes[:count]
    variance = float((sizes**2).sum())
    return points.reshape(*states.shape[:2], 2), float((sizes[:2]**2).sum()) / variance if variance else 0.0


def projection(found: Sequence[Representations], layer: str) -> Figure:
    """A layer's states in the plane, of each set of weights its own."""
    figure = new_figure(2.5)
    for ax, entry in zip(figure.subplots(1, len(found), squeeze=False)[0], found):
        points, share = plane(entry.states(layer))
        for index in reversed(range(len(entry.languages))):  # English, the first, on top
            ax.plot(*points[index, :MOST_SENTENCES].T, linestyle="none", markersize=2.6, markeredgewidth=0.7,
                    **language_style(index))
        when = ("" if len(found) == 1 else "before training: " if entry.weights == UNTRAINED else "after: ")
        ax.set_title(f"{when}{100 * share:.0f} %")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
    return figure


def similarity(found: Sequence[Representations], number: str, unit: str) -> Figure:
    """A cell a language, over the layers: after training strong, before it grey, to other sentences dotted."""
    newest = found[-1]
    figure, axes = cells(newest.languages[1:], unit, "")
    for ax, language in zip(axes, newest.languages[1:]):
        for entry in found:
            values = [entry.numbers[layer].get(language, {}).get(number, math.nan) for layer in newest.layers]
            trained = entry is newest
            ax.plot(values, color=color(0) if trained else MUTED, linewidth=1.6 if trained else 1.1)
        if number == "cosine":
            others = [newest.numbers[layer][language]["unrelated_cosine"] for layer in newest.layers]
            ax.plot(others, color=color(0), linewidth=1.1, linestyle=":")
        mark_parts(ax, newest.layers)
    return figure


def mark_parts(ax: Axes, layers: Sequence[str]) -> None:
    """The names of the model's parts below their first layers, and lines between them."""
    names = {"encoder": "encoder", "mapped": "", "llm": "LLM"}
    starts = {part: next(i for i, layer in enumerate(layers) if layer.split(".")[0] == part)
              for part in names if any(layer.split(".")[0] == part for layer in layers)}
    ax.set_xticks(list(starts.values()), [names[part] for part in starts], ha="left")
    for part in ("mapped", "llm"):
        if starts.get(part, 0) > 0:
            ax.axvline(starts[part], color=MUTED, linewidth=0.7, linestyle=(0, (2, 2)))
