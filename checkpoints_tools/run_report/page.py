"""One self-contained HTML page about one run, or several side by side."""

from __future__ import annotations

import functools
import html
import math
import pathlib
from typing import Any, Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from run_report import figures
from run_report.run_data import Evaluation, Run, Score, Stage
from run_report.svg import VARIABLES, inline_svg

MODE_MEANINGS = {"llm": "the frozen LLM alone", "mapping": "mapping, without the aligner",
                 "layalign": "LayAlign, all that was trained"}
BORDERS = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "double"}
SMOOTHED = "Pale: every step. Strong: the mean over a twentieth of the stage's steps around each."
MEANS = ("low-resource", "high-resource", "average")
escaped = html.escape


class Page:
    """Collects the parts of the page and counts its figures."""

    def __init__(self, runs: Sequence[Run], title: str) -> None:
        self.runs, self.title = runs, title
        self.figures = 0
        self.body: list[str] = []
        self.sections: list[tuple[str, str]] = []

    def section(self, title: str, words: str = "") -> None:
        anchor = title.lower().replace(" ", "-")
        self.sections.append((anchor, title))
        self.add(f'<h2 id="{anchor}">{escaped(title)}</h2>', f"<p>{escaped(words)}</p>" if words else "")

    def add(self, *parts: str) -> None:
        self.body += [part for part in parts if part]

    def figure(self, drawn: Figure, title: str, caption: str) -> str:
        self.figures += 1
        svg = inline_svg(drawn, self.figures, f"{title}. {caption}")
        return (f"<figure><h3>{escaped(title)}</h3>\n{svg}\n"
                f"<figcaption>Figure {self.figures}. {escaped(caption)}</figcaption></figure>")

    def grid(self, parts: Sequence[str]) -> None:
        self.add('<div class="grid">', *parts, "</div>")

    def missing(self, what: str) -> None:
        self.add(f'<p class="muted">{escaped(what)}</p>')

    def text(self) -> str:
        links = "".join(f'<li><a href="#{anchor}">{escaped(title)}</a></li>' for anchor, title in self.sections)
        style = pathlib.Path(__file__).with_name("page.css").read_text(encoding="utf-8")
        head = (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escaped(self.title)}</title>\n'
                f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{style}</style>\n</head>\n')
        top = f'<body>\n<h1>{escaped(self.title)}</h1>\n<nav aria-label="Parts of this page"><ul>{links}</ul></nav>\n'
        return head + top + "\n".join(self.body) + "\n</body>\n</html>\n"


def report(runs: Sequence[Run], title: str) -> str:
    """The page's text."""
    page = Page(runs, title)
    for write in (overview, training, held_out, accuracy, gates, mixing, cost, config):
        write(page)
    return page.text()


def each_stage(runs: Sequence[Run]) -> list[tuple[int, str]]:
    """Number and title of every stage that any of the runs has; stages of one number share a figure."""
    titles: dict[int, dict[str, None]] = {}
    for run in runs:
        for stage in run.stages:
            titles.setdefault(stage.number, {})[stage.name] = None
    return [(number, f"Stage {number}, {' / '.join(names)}") for number, names in sorted(titles.items())]


def named(runs: Sequence[Run], run: Run, text: str) -> str:
    """The text, of several runs with the run's name."""
    return text if len(runs) == 1 else f"{run.label}: {text}"


# --- numbers and tables ----------------------------------------------------------------------------------------------

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


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", means: Sequence[str] = ()) -> str:
    """Cells but the first of a row are HTML. `means`: names of rows to print bold."""
    top = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    lines = ""
    for name, *cells in rows:
        kind = ' class="mean"' if name in means else ""
        lines += f'<tr{kind}><th scope="row">{escaped(name)}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
    words = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{words}<thead><tr>{top}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def card(title: str, content: str) -> str:
    return f'<div class="card"><h3>{escaped(title)}</h3>{content}</div>'


def row(name: str, runs: Sequence[Run], cell: Callable[[Run], str]) -> list[str]:
    return [name] + [cell(run) for run in runs]


# --- parts of the page -----------------------------------------------------------------------------------------------

def overview(page: Page) -> None:
    if len(page.runs) > 1:
        items = "".join(f'<li style="color: var({VARIABLES[figures.color(i)]})"><i style="border-top-style: '
                        f'{BORDERS[figures.line(i)]}"></i>{escaped(run.label)}</li>' for i, run in enumerate(page.runs))
        page.add(f'<ul class="legend" aria-label="Runs">{items}</ul>')
    notes = [named(page.runs, run, note) for run in page.runs for note in run.notes]
    if notes:
        page.add('<ul class="notes">' + "".join(f"<li>{escaped(note)}</li>" for note in notes) + "</ul>")
    page.section("Overview")
    rows = [row("state", page.runs, lambda run: "finished" if run.finished else "not finished"),
            row("training time", page.runs, lambda run: duration(total(run, "step_s")))]
    for number, title in each_stage(page.runs):
        for name, cell in (("steps", steps_cell), ("loss, first → last", loss_cell), ("lowest perplexity", best_cell)):
            rows.append(row(f"{title}: {name}", page.runs, functools.partial(of_stage, number, cell)))
    rows += [row("LLM tokens a second, median", page.runs, lambda run: speed_cell(run)),
             row("peak memory of a rank", page.runs, lambda run: memory_cell(run))]
    rows += [row(f"{evaluation[0]} accuracy, {evaluation[1]}", page.runs, functools.partial(mean_cell, *evaluation))
             for evaluation in dict.fromkeys((entry.task, entry.mode) for run in page.runs for entry in run.evaluations
                                             if entry.scores)]
    page.add(table([""] + [run.label for run in page.runs], rows))


def all_steps(run: Run, key: str) -> np.ndarray:
    return np.concatenate([stage.steps[key] for stage in run.stages] or [np.empty(0)])


def total(run: Run, key: str) -> float:
    return float(np.nansum(all_steps(run, key)))


def of_stage(number: int, cell: Callable[[Stage], str], run: Run) -> str:
    stage = next((stage for stage in run.stages if stage.number == number), None)
    return cell(stage) if stage and stage.length else "–"


def steps_cell(stage: Stage) -> str:
    return str(stage.length)


def loss_cell(stage: Stage) -> str:
    return f"{digits(stage.steps['loss'][0])} → {digits(stage.steps['loss'][-1])}"


def best_cell(stage: Stage) -> str:
    found = [(line["perplexity"], line["step"]) for line in stage.evaluations if math.isfinite(line["perplexity"])]
    return f"{digits(min(found)[0])} <small>at step {min(found)[1]:.0f}</small>" if found else "–"


def speed_cell(run: Run) -> str:
    values = all_steps(run, "tokens_per_s")
    return f"{np.nanmedian(values):,.0f}" if values.size else "–"


def memory_cell(run: Run) -> str:
    values = all_steps(run, "peak_memory_bytes")
    return size(float(values.max())) if values.size else "–"


def mean_cell(task: str, mode: str, run: Run) -> str:
    found = [entry.scores[-1] for entry in run.evaluations if (entry.task, entry.mode) == (task, mode) and entry.scores]
    return interval(found[0]) if found else "–"


def training(page: Page) -> None:
    page.section("Loss and learning rate")
    parts = []
    for number, title in each_stage(page.runs):
        found = [stage for _, _, stage in figures.stages(page.runs, number) if stage.length]
        if found:
            dots = " Dots: held-out samples." if any(stage.evaluations for stage in found) else ""
            parts.append(page.figure(figures.loss(page.runs, number), f"{title}: loss", SMOOTHED + dots))
    if not parts:
        page.missing("No step has been done, or metrics.jsonl is not there.")
        return
    parts.append(page.figure(figures.learning_rate(page.runs), "Learning rate",
                             "What each update was made with. A dashed upright line: a later stage begins."))
    page.grid(parts)


def held_out(page: Page) -> None:
    page.section("Held-out perplexity")
    parts = []
    for number, title in each_stage(page.runs):
        if figures.languages(page.runs, number):
            grey = " Grey: all languages together." if len(page.runs) == 1 else ""
            parts.append(page.figure(figures.perplexity(page.runs, number), f"{title}: perplexity by language",
                                     f"A cell a language, all to one scale; lower is better.{grey}"))
    if parts:
        page.grid([*parts, perplexity_table(page.runs)])
    else:
        page.missing("No held-out evaluation has been made, or evaluations.jsonl is not there.")


def perplexity_table(runs: Sequence[Run]) -> str:
    """A column a run and stage: of a single run the first and the last evaluation, of several the last."""
    columns = [(f"stage {stage.number}" if len(runs) == 1 else f"{run.label}, stage {stage.number}", stage.evaluations)
               for number, _ in each_stage(runs) for _, run, stage in figures.stages(runs, number) if stage.evaluations]
    languages = dict.fromkeys(language for _, lines in columns for line in lines for language in line["language_perplexity"])

    def cell(lines: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]) -> str:
        shown = [lines[0], lines[-1]] if len(runs) == 1 and len(lines) > 1 else [lines[-1]]
        found = [number for number in map(value, shown) if number is not None]
        return " → ".join(map(digits, found)) or "–"

    rows = [[language] + [cell(lines, lambda line: line["language_perplexity"].get(language))
                          for _, lines in columns] for language in languages]
    rows.append(["all"] + [cell(lines, lambda line: line["perplexity"]) for _, lines in columns])
    title = "Perplexity, first → last evaluation" if len(runs) == 1 else "Perplexity, last evaluation"
    return card(title, table(["language"] + [name for name, _ in columns], rows, means=["all"]))


def accuracy(page: Page) -> None:
    page.section("Accuracy")
    parts = []
    modes: list[str] = []
    for run in page.runs:
        for task in dict.fromkeys(entry.task for entry in run.evaluations if entry.scores):
            found = [entry for entry in run.evaluations if entry.task == task]
            modes += [mode for mode in figures.modes_of(found) if mode not in modes]
            parts += [page.figure(figures.scores(found), named(page.runs, run, f"{task} accuracy"),
                                  "Bars: the share of right answers. Thin lines: Wilson's 95 % interval; that of a mean takes "
                                  f"the languages as independent. {questions(found)}"),
                      accuracy_table(named(page.runs, run, f"{task} accuracy, percent"), found)]
        if held := [entry for entry in run.evaluations if entry.perplexity]:
            parts.append(evaluated_perplexity(named(page.runs, run, "perplexity by mode"), held))
    if modes:
        items = "".join(f'<li><i class="bar" style="color: var(--{mode})"></i>{MODE_MEANINGS[mode]}</li>'
                        for mode in MODE_MEANINGS if mode in modes)
        page.add(f'<ul class="legend" aria-label="Ways to answer">{items}</ul>')
    for task in dict.fromkeys(entry["task"] for run in page.runs for stage in run.stages for entry in stage.benchmarks):
        parts.append(page.figure(figures.benchmark(page.runs, task), f"{task} accuracy while training",
                                 "Of the questions that eval.limit allows; a dashed upright line: a later stage begins."))
    if parts:
        page.grid(parts)
    if not modes:
        page.missing("No benchmark of layalign-eval lies in the folder evaluation/ of the run.")


def questions(found: Sequence[Evaluation]) -> str:
    counts = sorted({entry.samples for evaluation in found for entry in evaluation.scores if entry.name not in MEANS})
    return f"{counts[0]} questions a language." if len(counts) == 1 else f"{counts[0]} to {counts[-1]} questions a language."


def accuracy_table(title: str, found: Sequence[Evaluation]) -> str:
    names = list(dict.fromkeys(entry.name for evaluation in found for entry in evaluation.scores))
    by_mode = [{entry.name: interval(entry) for entry in evaluation.scores} for evaluation in found]
    rows = [[name] + [cells.get(name, "–") for cells in by_mode] for name in names]
    head = ["language"] + [evaluation.mode for evaluation in found]
    return card(title, table(head, rows, means=MEANS))


def evaluated_perplexity(title: str, found: Sequence[Evaluation]) -> str:
    rows = [[name] + [digits(evaluation.perplexity.get(name, math.nan)) for evaluation in found]
            for name in found[0].perplexity]
    head = ["language"] + [evaluation.mode for evaluation in found]
    return card(title, table(head, rows, means=["all"]))


def gates(page: Page) -> None:
    page.section("Gates", "A layer's gate scales what its fusion adds to the frozen self-attention: at 0 the layer is the "
                          "LLM's own. A dynamic gate is a function of the hidden state; its bias is drawn.")
    if not any(run.gates for run in page.runs):
        page.missing("No checkpoint is there yet, or the run trains no gates.")
        return
    points = " and ".join(sorted({f"{len(run.gates)}" for run in page.runs}, key=int))
    page.grid([page.figure(figures.gates(page.runs), "Gates of the LLM's layers",
                           f"A cell a layer, all to one scale. Dots: what was read from checkpoints and the ends of stages "
                           f"({points} of them); checkpoint.keep says how many stay. A dashed upright line: a later stage "
                           "begins."),
               page.figure(figures.last_gates(page.runs), "Newest gates over the LLM's depth",
                           "The last point of each cell beside it, layer by layer.")])


def mixing(page: Page) -> None:
    page.section("Which encoder layer feeds which LLM layer",
                 "fc1 mixes the states of the encoder's layers into a key state and a value state for each LLM layer: a "
                 "row of weights each, followed by ReLU and fc2. Blue adds a layer's state, brown takes it off. The states "
                 "of different layers differ in size, so a weight is not yet a share.")
    for run in page.runs:
        if run.fc1 is None:
            kind = run.config.get("model.aligner", "layer_wise")
            why = f"model.aligner is {kind}, which has no fc1" if kind != "layer_wise" else "no checkpoint is there yet"
            page.missing(named(page.runs, run, f"{why}."))
            continue
        limit = float(np.abs(run.fc1).max()) or 1.0
        page.grid([page.figure(figures.mixing(run, part, limit), named(page.runs, run, f"fc1 for the {name}"),
                               f"Weights of {run.weights}; keys and values have one scale of colours.{counted(run)}")
                   for part, name in enumerate(("keys", "values"))])


def counted(run: Run) -> str:
    """What '#1' means, where the layers' numbers are not known."""
    rows, columns = run.fc1.shape
    names = run.layer_names("encoder_layers", columns) + run.layer_names("language_layers", rows // 2)
    return " #1 is the first of the layers that the config names." if "#1" in names else ""


def cost(page: Page) -> None:
    page.section("Throughput and memory")
    if not any(stage.length for run in page.runs for stage in run.stages):
        page.missing("No step has been done, or metrics.jsonl is not there.")
        return
    page.grid([page.figure(figures.speed(page.runs), "Throughput",
                           f"LLM tokens of the global batch a second, over all ranks. {SMOOTHED}"),
               page.figure(figures.memory(page.runs), "Memory",
                           "The most that the fullest rank has held up to each step: of a GPU's memory, or without one of "
                           "the machine's.")])


def config(page: Page) -> None:
    page.section("Config")
    if len(page.runs) > 1:
        keys = dict.fromkeys(key for run in page.runs for key in run.config if key != "output")
        rows = [row(key, page.runs, lambda run: escaped(run.config.get(key, "–"))) for key in keys
                if len({run.config.get(key) for run in page.runs}) > 1]
        if rows:
            page.add(table(["key"] + [run.label for run in page.runs], rows, "Keys that differ"))
        else:
            page.missing("All runs have the same config.")
    for run in page.runs:
        page.add(f"<details><summary>Every key of {escaped(run.label)}, as the run used it</summary>"
                 f"<pre>{escaped(run.config_text)}</pre></details>")
