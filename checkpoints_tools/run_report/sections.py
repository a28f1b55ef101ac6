"""What the page says: a function a section, in their order."""

from __future__ import annotations

import functools
import math
from typing import Any, Callable, Sequence

import numpy as np

from run_report import figures
from run_report.page import Page, card, digits, duration, escaped, interval, named, size, table
from run_report.run_data import Evaluation, Representations, Run, Stage
from run_report.svg import VARIABLES

MODE_MEANINGS = {"llm": "the frozen LLM alone", "mapping": "mapping, without the aligner",
                 "layalign": "LayAlign, all that was trained"}
BORDERS = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "double"}
SMOOTHED = "Pale: single steps. Strong: the mean over a twentieth of the stage's steps around each."
LATER_STAGE = "A dashed upright line: a later stage begins."
MEANS = ("low-resource", "high-resource", "average")
Line = dict[str, Any]  # of evaluations.jsonl


def report(runs: Sequence[Run], title: str) -> str:
    """The page's text."""
    page = Page(runs, title)
    for write in (overview, training, held_out, accuracy, gates, mixing, representations, cost, config):
        write(page)
    return page.text()


def each_stage(runs: Sequence[Run]) -> list[tuple[int, str]]:
    """Number and title of every stage that any of the runs has; stages of one number share a figure."""
    titles: dict[int, dict[str, None]] = {}
    for run in runs:
        for stage in run.stages:
            titles.setdefault(stage.number, {})[stage.name] = None
    return [(number, f"Stage {number}, {' / '.join(names)}") for number, names in sorted(titles.items())]


def row(name: str, runs: Sequence[Run], cell: Callable[[Run], str]) -> list[str]:
    return [name] + [cell(run) for run in runs]


def overview(page: Page) -> None:
    if len(page.runs) > 1:
        page.add(legend_of_runs(page.runs))
    notes = [named(page.runs, run, note) for run in page.runs for note in run.notes]
    if notes:
        page.add('<ul class="notes">' + "".join(f"<li>{escaped(note)}</li>" for note in notes) + "</ul>")
    page.section("Overview")
    rows = [row("state", page.runs, lambda run: "finished" if run.finished else "not finished"),
            row("training time", page.runs, lambda run: duration(total(run, "step_s")))]
    for number, title in each_stage(page.runs):
        for name, cell in (("steps", steps_cell), ("loss, first → last", loss_cell), ("lowest perplexity", best_cell)):
            rows.append(row(f"{title}: {name}", page.runs, functools.partial(of_stage, number, cell)))
    rows += [row("LLM tokens a second, median", page.runs, speed_cell),
             row("peak memory of a rank", page.runs, memory_cell)]
    if any(stage.mfu for run in page.runs for stage in run.stages):
        rows.append(row("MFU, median, percent", page.runs, mfu_cell))
    if any(stage.phases for run in page.runs for stage in run.stages):
        rows.append(row("step time by phase, percent", page.runs, phases_cell))
    scored = dict.fromkeys((entry.task, entry.mode) for run in page.runs for entry in run.evaluations if entry.scores)
    rows += [row(f"{task} accuracy, {mode}, percent", page.runs, functools.partial(mean_cell, task, mode))
             for task, mode in scored]
    page.add(table([""] + [run.label for run in page.runs], rows))


def legend_of_runs(runs: Sequence[Run]) -> str:
    items = ""
    for index, run in enumerate(runs):
        swatch = f'<i style="border-top-style: {BORDERS[figures.dashes(index)]}"></i>'
        items += f'<li style="color: var({VARIABLES[figures.color(index)]})">{swatch}{escaped(run.label)}</li>'
    return f'<ul class="legend" aria-label="Runs">{items}</ul>'


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


def mfu_cell(run: Run) -> str:
    values = [value for stage in run.stages for value in stage.mfu]
    return f"{100 * np.nanmedian(values):.1f}" if values else "–"


def phases_cell(run: Run) -> str:
    """Of the steps that were timed by phase."""
    steps = [phases for stage in run.stages for phases in stage.phases]
    sums = {name: sum(phases[name] for phases in steps if name in phases) for name in dict.fromkeys(
        name for phases in steps for name in phases)}
    whole = sum(sums.values())
    return ", ".join(f"{escaped(name)} {100 * value / whole:.0f}" for name, value in sums.items()) if whole > 0 else "–"


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
                             f"What each update was made with. {LATER_STAGE}"))
    page.grid(parts)


def held_out(page: Page) -> None:
    page.section("Held-out perplexity")
    alone = len(page.runs) == 1
    drawn = {}
    for number, title in each_stage(page.runs):
        if figures.languages(page.runs, number):
            grey = " Grey: all languages together." if alone else ""
            drawn[number] = page.figure(figures.perplexity(page.runs, number), f"{title}: perplexity by language",
                                        f"A cell a language, all to one scale; lower is better.{grey}")
    if not drawn:
        page.missing("No held-out evaluation has been made, or evaluations.jsonl is not there.")
    elif alone:
        columns = [(f"stage {number}", page.runs[0].stages[number - 1].evaluations) for number in drawn]
        page.grid([*drawn.values(), perplexity_table("Perplexity, first → last evaluation", columns, 0, -1)])
    for number in [] if alone else drawn:
        columns = [(run.label, stage.evaluations) for _, run, stage in figures.stages(page.runs, number)]
        page.grid([drawn[number], perplexity_table(f"Stage {number}: perplexity, last evaluation", columns, -1)])


def perplexity_table(title: str, columns: Sequence[tuple[str, list[Line]]], *shown: int) -> str:
    """A column for each list of evaluations. `shown`: which of the list stand in it."""
    languages = dict.fromkeys(name for _, lines in columns for line in lines for name in line["language_perplexity"])

    def cell(lines: Sequence[Line], value: Callable[[Line], float | None]) -> str:
        found = dict.fromkeys(value(lines[index]) for index in shown if lines)
        return " → ".join(digits(number) for number in found if number is not None) or "–"

    rows = [[language] + [cell(lines, lambda line: line["language_perplexity"].get(language)) for _, lines in columns]
            for language in languages]
    rows.append(["all"] + [cell(lines, lambda line: line["perplexity"]) for _, lines in columns])
    return card(title, table(["language"] + [name for name, _ in columns], rows, means=["all"]))


def accuracy(page: Page) -> None:
    page.section("Accuracy")
    modes = figures.modes_of([entry for run in page.runs for entry in run.evaluations if entry.scores])
    if modes:
        items = "".join(f'<li><i class="bar" style="color: var(--{mode})"></i>{MODE_MEANINGS[mode]}</li>'
                        for mode in modes)
        page.add(f'<ul class="legend" aria-label="Ways to answer">{items}</ul>')
    else:
        page.missing("No benchmark of layalign-eval lies in the folder evaluation/ of the run.")
    for run in page.runs:
        if run.evaluations:
            page.grid(evaluated(page, run))
    tasks = dict.fromkeys(line["task"] for run in page.runs for stage in run.stages for line in stage.benchmarks)
    if tasks:
        page.grid([page.figure(figures.benchmark(page.runs, task), f"{task} accuracy while training",
                               f"Of the questions that eval.limit allows. {LATER_STAGE}") for task in tasks])


def evaluated(page: Page, run: Run) -> list[str]:
    """Figures and tables of what layalign-eval found; a task has one scale in all runs."""
    parts = []
    for task in dict.fromkeys(entry.task for entry in run.evaluations if entry.scores):
        found = [entry for entry in run.evaluations if entry.task == task]
        highest = max(score.high for other in page.runs for entry in other.evaluations if entry.task == task
                      for score in entry.scores)
        caption = ("Bars: the share of right answers. Thin lines: Wilson's 95 % interval; that of a mean takes the "
                   f"languages as independent. {questions(found)} Weights: {found[-1].weights}.")
        parts += [page.figure(figures.scores(found, highest), named(page.runs, run, f"{task} accuracy"), caption),
                  score_card(named(page.runs, run, f"{task} accuracy, percent"), found)]
    if held := [entry for entry in run.evaluations if entry.perplexity]:
        rows = [[name] + [digits(entry.perplexity.get(name, math.nan)) for entry in held]
                for name in held[0].perplexity]
        head = ["language"] + [entry.mode for entry in held]
        title = named(page.runs, run, "held-out perplexity of layalign-eval")
        parts.append(card(title, table(head, rows, means=["all"])))
    return parts


def questions(found: Sequence[Evaluation]) -> str:
    counts = [entry.samples for evaluation in found for entry in evaluation.scores if entry.name not in MEANS]
    low, high = min(counts), max(counts)
    return f"{low} questions a language." if low == high else f"{low} to {high} questions a language."


def score_card(title: str, found: Sequence[Evaluation]) -> str:
    names = dict.fromkeys(entry.name for evaluation in found for entry in evaluation.scores)
    by_mode = [{entry.name: interval(entry) for entry in evaluation.scores} for evaluation in found]
    rows = [[name] + [cells.get(name, "–") for cells in by_mode] for name in names]
    return card(title, table(["language"] + [evaluation.mode for evaluation in found], rows, means=MEANS))


def gates(page: Page) -> None:
    page.section("Gates", "A layer's gate scales what its fusion adds to the frozen self-attention: at 0 the layer is "
                          "the LLM's own. A dynamic gate is a function of the hidden state; its bias is drawn.")
    counts = sorted({len(run.gates) for run in page.runs})
    if counts == [0]:
        page.missing("No checkpoint is there yet, or the run trains no gates.")
        return
    page.grid([page.figure(figures.gates(page.runs), "Gates of the LLM's layers",
                           "A cell a layer, all to one scale. Dots: what was read from metrics.jsonl, or from "
                           f"checkpoints and the ends of stages ({' and '.join(map(str, counts))} of them). "
                           f"{LATER_STAGE}"),
               page.figure(figures.last_gates(page.runs), "Newest gates over the LLM's depth",
                           "The last point of each cell beside it, layer by layer.")])


def mixing(page: Page) -> None:
    page.section("Which encoder layer feeds which LLM layer",
                 "fc1 mixes the states of the encoder's layers into a key state and a value state for each LLM layer: "
                 "a row of weights each, followed by ReLU and fc2. Blue adds a layer's state, brown takes it off. The "
                 "states of different layers differ in size, so a weight is not yet a share.")
    for run in page.runs:
        if run.fc1 is None:
            kind = run.config.get("model.aligner", "layer_wise")
            layer_wise = kind == "layer_wise"
            why = "no checkpoint is there yet" if layer_wise else f"model.aligner is {kind}, which has no fc1"
            page.missing(named(page.runs, run, f"{why}."))
            continue
        caption = f"Weights of {run.weights}; keys and values have one scale of colours.{counted(run, run.fc1)}"
        titles = [named(page.runs, run, f"fc1 for the {name}") for name in ("keys", "values")]
        page.grid([page.figure(figures.mixing(run, run.fc1, part), title, caption) for part, title in enumerate(titles)])


def counted(run: Run, fc1: np.ndarray) -> str:
    """What '#1' means, where the layers' numbers are not known."""
    rows, columns = fc1.shape
    names = run.layer_names("encoder_layers", columns) + run.layer_names("language_layers", rows // 2)
    return " #1 is the first of the layers that the config names." if "#1" in names else ""


def representations(page: Page) -> None:
    page.section("Representations",
                 "The mean state of a sentence over its tokens, layer by layer: of the encoder, of what the mapping makes "
                 "of it, and of the LLM (0: its input). How near is a language to the same sentences in English?")
    if not any(run.representations for run in page.runs):
        page.missing("No representations lie in the folder evaluation/ of the run: layalign-eval CONFIG --task "
                     "representations makes them, with --untrained those before training.")
    for run in page.runs:
        for found in run.representations.values():
            page.add(legend_of_languages(found[-1].languages))
            page.grid(represented(page, run, found))


def legend_of_languages(languages: Sequence[str]) -> str:
    signs = {"x": "×", "o": "●", "^": "▲", "s": "■", "D": "◆"}
    items = ""
    for index, language in enumerate(languages):
        style = figures.language_style(index)
        ink = f'style="color: var({VARIABLES[style["color"]]})"'
        items += f'<li><b {ink} aria-hidden="true">{signs[style["marker"]]}</b> {escaped(language)}</li>'
    return f'<ul class="legend" aria-label="Languages">{items}</ul>'


def shown_layers(found: Representations) -> list[str]:
    """The encoder's last layer, the mapping, the middle and the last layer of the LLM."""
    encoder = [layer for layer in found.layers if layer.startswith("encoder.")]
    llm = [layer for layer in found.layers if layer.startswith("llm.")]
    return encoder[-1:] + (["mapped"] if "mapped" in found.layers else llm[:1]) + [llm[len(llm) // 2], llm[-1]]


def layer_title(layer: str) -> str:
    part, _, number = layer.partition(".")
    return {"encoder": f"Layer {number} of the encoder", "mapped": "Output of the mapping"}.get(
        part, "Input of the LLM" if number == "0" else f"Layer {number} of the LLM")


def represented(page: Page, run: Run, found: list[Representations]) -> list[str]:
    newest = found[-1]
    mode = MODE_MEANINGS[newest.mode]
    grey = " Grey: before training." if len(found) > 1 else ""
    weights = f"{newest.sentences} sentences. Weights: {newest.weights}; {mode}."
    plane = ("A dot a sentence, on the two principal components of all languages together; percent: their share of the "
             f"variance. {drawn_sentences(newest)}{mode[0].upper()}{mode[1:]}.")
    parts = []
    for layer in shown_layers(newest):
        sets = found[-1:] if layer.startswith("encoder.") else found  # the encoder is not trained
        parts.append(page.figure(figures.projection(sets, layer),
                                 named(page.runs, run, f"{layer_title(layer)}, in the plane"), plane))
    parts += [page.figure(figures.similarity(found, "cosine", "cosine to English"),
                          named(page.runs, run, "Cosine to the English sentence"),
                          "From the encoder's first layer to the LLM's last; dashed upright: the mapping, then the LLM. "
                          f"Dotted: to other English sentences.{grey} {weights}"),
              page.figure(figures.similarity(found, "retrieval", "English sentence found"),
                          named(page.runs, run, "Retrieval of the English sentence"),
                          f"The share of sentences whose nearest English one, by cosine, says the same.{grey} {weights}"),
              retrieval_card(named(page.runs, run, "Retrieval, percent" + ", before → after" * (len(found) > 1)), found)]
    return parts


def drawn_sentences(found: Representations) -> str:
    most = figures.MOST_SENTENCES
    return f"The first {most} of {found.sentences} sentences of each language are drawn. " if found.sentences > most else ""


def retrieval_card(title: str, found: Sequence[Representations]) -> str:
    layers = shown_layers(found[-1])
    del layers[-2]  # the middle one: there is no room for it

    def cell(layer: str, language: str) -> str:
        sets = found[-1:] if layer.startswith("encoder.") else found  # the encoder is not trained
        values = [entry.numbers.get(layer, {}).get(language, {}).get("retrieval") for entry in sets]
        return " → ".join(f"{100 * value:.0f}" for value in values if value is not None) or "–"

    rows = [[language] + [cell(layer, language) for layer in layers] for language in found[-1].languages[1:]]
    return card(title, table(["language"] + [layer.replace(".", " ") for layer in layers], rows))


def cost(page: Page) -> None:
    page.section("Throughput and memory")
    if not any(stage.length for run in page.runs for stage in run.stages):
        page.missing("No step has been done, or metrics.jsonl is not there.")
        return
    page.grid([page.figure(figures.speed(page.runs), "Throughput",
                           f"LLM tokens of the global batch a second, over all ranks. {SMOOTHED}"),
               page.figure(figures.memory(page.runs), "Memory",
                           "The most that the fullest rank has held up to each step: of a GPU's memory, or without one "
                           "of the machine's.")])


def config(page: Page) -> None:
    page.section("Config")
    if len(page.runs) > 1:
        keys = dict.fromkeys(key for run in page.runs for key in run.config if key != "output")
        rows = [row(key, page.runs, functools.partial(value_cell, key)) for key in keys
                if len({run.config.get(key) for run in page.runs}) > 1]
        if rows:
            page.add(table(["key"] + [run.label for run in page.runs], rows, "Keys that differ"))
        else:
            page.missing("All runs have the same config.")
    for run in page.runs:
        page.add(f"<details><summary>Every key of {escaped(run.label)}, as the run used it</summary>"
                 f"<pre>{escaped(run.config_text)}</pre></details>")


def value_cell(key: str, run: Run) -> str:
    return f'<span class="text">{escaped(run.config.get(key, "–"))}</span>'
