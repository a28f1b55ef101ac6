"""Reads what layalign-train and layalign-eval leave in a run's folder.

Parts that are not there are None or empty. Parts that are there and cannot be read are a Refusal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
from typing import Any, Callable, Iterator

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open

MODES = ("llm", "mapping", "layalign")  # of layalign-eval: the frozen LLM, without the aligner, all that was trained
LOW_RESOURCE = ("Bengali", "Thai", "Swahili")
GROUPS = {"_low_resource": "low-resource", "_high_resource": "high-resource", "": "average"}
STEP_KEYS = ("step", "loss", "lr", "tokens_per_s", "step_s", "peak_memory_bytes")
TORN = "ends in a line that is not complete, as a run leaves it that was killed or is still writing: it is left out"


class Refusal(Exception):
    """There is no report of it: what, where, what to do."""


@dataclasses.dataclass
class Gates:
    """The gates of the adapted LLM layers at some step. Of a dynamic gate the biases."""

    stage: int
    step: int
    values: np.ndarray  # [layers]


@dataclasses.dataclass
class Stage:
    """A stage of training, with what was measured in it."""

    number: int  # 1 for the first
    name: str
    steps: dict[str, np.ndarray]  # STEP_KEYS; nan where the program wrote null
    evaluations: list[dict[str, Any]]  # lines of held-out perplexity
    benchmarks: list[dict[str, Any]]  # lines of a task's accuracy
    gates: list[Gates]  # that metrics.jsonl has
    phases: list[dict[str, float]]  # seconds by phase of those steps that have them
    mfu: list[float]  # of those steps that have it

    @property
    def length(self) -> int:
        """Steps that were done."""
        return int(self.steps["step"][-1]) if self.steps["step"].size else 0

    @property
    def title(self) -> str:
        return f"stage {self.number}, {self.name}"


@dataclasses.dataclass
class Score:
    """The accuracy of a language, or a mean of several. All from 0 to 1."""

    name: str
    accuracy: float
    low: float
    high: float
    samples: int


@dataclasses.dataclass
class Evaluation:
    """A benchmark, or perplexity, answered in one mode."""

    task: str
    mode: str
    weights: str  # the file that answered
    scores: list[Score]  # languages, then means; none of perplexity
    perplexity: dict[str, float]  # by language, then "all"


@dataclasses.dataclass
class Representations:
    """Mean states of parallel sentences in one mode, of one set of weights."""

    mode: str
    weights: str  # the file that the trained parts are from, or "untrained"
    path: pathlib.Path  # of the HDF5 file
    languages: list[str]  # English first
    sentences: int
    layers: list[str]  # "encoder.0", ..., "mapped", "llm.0", ...
    numbers: dict[str, dict[str, dict[str, float]]]  # layer, language, "retrieval" | "cosine" | "unrelated_cosine"

    def states(self, layer: str) -> np.ndarray:
        """[languages, sentences, width]. Errors: Refusal."""
        with h5_file(self.path) as file:
            return file[layer][...].astype(float)


@dataclasses.dataclass
class Run:
    """All of a run that the report shows."""

    path: pathlib.Path
    label: str
    finished: bool
    config_text: str
    config: dict[str, str]  # "stages.0.lr" -> "0.002"
    stages: list[Stage]
    gates: list[Gates]
    weights: str  # the file that fc1 is from, relative to the run; "" where there is none
    fc1: np.ndarray | None  # [2 * LLM layers, encoder layers]: K of the first layer, V of the first layer, K ...
    evaluations: list[Evaluation]
    representations: dict[str, list[Representations]]  # by mode: of untrained weights, if there, then of the trained
    notes: list[str]

    @property
    def dynamic_gate(self) -> bool:
        return self.config.get("model.gate") == "dynamic"

    def offset(self, stage: int) -> int:
        """Steps of all stages before it."""
        return sum(other.length for other in self.stages if other.number < stage)

    def layer_names(self, key: str, count: int) -> list[str]:
        """Numbers of the `count` layers that model.KEY means; "#1", "#2" where that needs the model's depth."""
        text = self.config.get(f"model.{key}", "")
        if text.startswith("["):
            names = [name.strip() for name in text.strip("[]").split(",")]
            return names if len(names) == count else numbered(count)
        return numbered(count) if text.startswith(("middle", "last")) else [str(i) for i in range(count)]


def numbered(count: int) -> list[str]:
    return [f"#{i + 1}" for i in range(count)]


def read_run(path: pathlib.Path) -> Run:
    """Errors: Refusal where the folder is no run or a file of it is broken; OSError."""
    config_path = path / "config.yaml"
    if not path.is_dir():
        raise Refusal(f"{path}: is not a folder that exists; expected the output folder of layalign-train")
    if not config_path.is_file():
        raise Refusal(f"{path}: is no run of layalign-train: it has no config.yaml")
    notes: list[str] = []
    text = config_path.read_text(encoding="utf-8", errors="replace")
    config = config_leaves(text)
    stages = read_stages(path, stage_names(config), notes)
    run = Run(path, path.resolve().name, (path / "summary.json").is_file(), text, config, stages, [], "", None,
              read_evaluations(path / "evaluation"), read_representations(path / "evaluation"), notes)
    read_weights(run)
    return run


def config_leaves(text: str) -> dict[str, str]:
    """A config.yaml as the program writes it: a key a line, two spaces a level, stages with a dash."""
    leaves: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    stage = -1
    for line in text.splitlines():
        found = re.match(r"( *)(- )?([^\s:]+):(?: (.*))?$", line)
        if not found:
            continue
        indent = len(found[1])
        while parents and parents[-1][0] >= indent:
            parents.pop()
        if found[2]:
            stage += 1
            parents.append((indent, str(stage)))
            indent += 2
        if found[4] is None:
            parents.append((indent, found[3]))
        else:
            leaves[".".join([name for _, name in parents] + [found[3]])] = found[4]
    return leaves


def stage_names(config: dict[str, str]) -> list[str]:
    names: list[str] = []
    while (name := config.get(f"stages.{len(names)}.name")) is not None:
        names.append(name.strip("'\""))
    return names


def read_lines(path: pathlib.Path, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """FILE:LINE and object of each line; nothing where there is no file. A torn last line becomes a note."""
    if not path.is_file():
        notes.append(f"{path.name} is not there")
        return
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if lines.pop():
        notes.append(f"{path.name} {TORN}")
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise Refusal(f"{where}: not a line of JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(value, dict):
            raise Refusal(f"{where}: not a line of metrics: a JSON object is expected")
        yield where, value


def read_stages(path: pathlib.Path, names: list[str], notes: list[str]) -> list[Stage]:
    steps: dict[int, list[list[float]]] = {i: [] for i in range(1, len(names) + 1)}
    evaluations: dict[int, list[dict[str, Any]]] = {i: [] for i in steps}
    gates: dict[int, list[Gates]] = {i: [] for i in steps}
    phases: dict[int, list[dict[str, float]]] = {i: [] for i in steps}
    mfu: dict[int, list[float]] = {i: [] for i in steps}
    for where, line in read_lines(path / "metrics.jsonl", notes):
        number = stage_of(where, line, len(names))
        steps[number].append([number_of(where, line, key) for key in STEP_KEYS])
        if "gates" in line:
            gates[number].append(Gates(number, int(steps[number][-1][0]), gates_of(where, line["gates"])))
        if isinstance(line.get("phase_s"), dict):
            phases[number].append({name: number_of(where, line["phase_s"], name) for name in line["phase_s"]})
        if "mfu" in line:
            mfu[number].append(number_of(where, line, "mfu"))
    for where, line in read_lines(path / "evaluations.jsonl", notes):
        kind, keys = (("language_accuracy", ("step", "accuracy")) if "task" in line else
                      ("language_perplexity", ("step", "loss", "perplexity")))
        for key in keys:
            line[key] = number_of(where, line, key)
        if not isinstance(line.get(kind), dict):
            raise Refusal(f"{where}: not a line of metrics: '{kind}' is missing or no object")
        line[kind] = {language: number_of(where, line[kind], language) for language in line[kind]}
        evaluations[stage_of(where, line, len(names))].append(line)
    stages = []
    for number, name in enumerate(names, start=1):
        table = np.array(steps[number], dtype=float).reshape(-1, len(STEP_KEYS))
        stages.append(Stage(number, name, {key: table[:, i] for i, key in enumerate(STEP_KEYS)},
                            [line for line in evaluations[number] if "task" not in line],
                            [line for line in evaluations[number] if "task" in line], gates[number],
                            phases[number], mfu[number]))
    return stages


def gates_of(where: str, values: Any) -> np.ndarray:
    try:
        return np.array(values, dtype=float).reshape(len(values))
    except (TypeError, ValueError) as error:
        raise Refusal(f"{where}: not a line of metrics: 'gates' is {values!r}, expected numbers") from error


def stage_of(where: str, line: dict[str, Any], stages: int) -> int:
    number = line.get("stage_number")
    if type(number) is not int or not 1 <= number <= stages:
        raise Refusal(f"{where}: not a line of metrics: 'stage_number' is {number!r}, config.yaml has {stages} stages")
    return number


def number_of(where: str, line: dict[str, Any], key: str) -> float:
    """nan for null: the program writes it for what is not finite."""
    value = line.get(key, "missing")
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refusal(f"{where}: not a line of metrics: '{key}' is {value!r}, expected a number")
    return float(value)


def read_weights(run: Run) -> None:
    """The newest fc1; the gates of the metrics, of a stage without them those of its checkpoints and its end."""
    for stage in run.stages:
        run.gates += stage.gates
        folder = run.path / f"{stage.number}-{stage.name}"
        found = {int(path.parent.name[5:]): path for path in sorted(folder.glob("step-*/trainables.safetensors"))
                 if path.parent.name[5:].isdigit()}
        final = folder / "trainables.safetensors"
        if final.is_file():
            found[max([stage.length, *found])] = final
        for step, path in sorted(found.items()):
            tensors = read_tensors(path, ("gates", "gates.bias", "aligner.fc1.weight"))
            values = tensors.get("gates", tensors.get("gates.bias"))
            if values is not None and not stage.gates:
                run.gates.append(Gates(stage.number, step, values))
            if tensors:
                run.weights, run.fc1 = str(path.relative_to(run.path)), tensors.get("aligner.fc1.weight")


def read_tensors(path: pathlib.Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the named tensors that the file has; nothing where it is gone, as old checkpoints of a live run are."""
    try:
        with safe_open(path, framework="numpy") as file:
            present = set(file.keys())
            return {name: file.get_tensor(name).astype(float) for name in names if name in present}
    except FileNotFoundError:
        return {}
    except SafetensorError as error:
        raise Refusal(f"{path}: damaged: {error}; layalign-checkpoint verify says more") from error


def wilson(accuracy: float, samples: float) -> tuple[float, float]:
    """The 95 % interval of Wilson, as layalign-eval prints it."""
    z = 1.959963984540054
    shrink = 1 + z * z / samples
    centre = (accuracy + z * z / (2 * samples)) / shrink
    half = z / shrink * (accuracy * (1 - accuracy) / samples + z * z / (4 * samples * samples)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def read_evaluations(folder: pathlib.Path) -> list[Evaluation]:
    """The newest results of each task and mode, in the order of MODES."""
    newest: dict[tuple[str, str], Evaluation] = {}
    for mode in MODES:
        for path in sorted((folder / mode).glob("results_*.json")):
            newest.update({(evaluation.task, mode): evaluation for evaluation in read_results(path, mode)})
    return list(newest.values())


def read_results(path: pathlib.Path, mode: str) -> list[Evaluation]:
    """Every task of a results file. Errors: Refusal."""
    date = path.stem.removeprefix("results_")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        language = functools.partial(language_of, path.parent, date)
        weights = results["model_name"]
        return [read_task(results, task, members, Evaluation(task, mode, weights, [], {}), language)
                for task, members in results["group_subtasks"].items()]
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise Refusal(f"{path}: not a results file of layalign-eval: {type(error).__name__} {error}") from error


def read_task(results: dict[str, Any], task: str, members: list[str], evaluation: Evaluation,
              language: Callable[[str, str], str]) -> Evaluation:
    table = results["results"]
    if task == "perplexity":
        rows = [(language(name, task), table[name]["perplexity,none"]) for name in members]
        rows.append(("all", table[task]["perplexity,none"]))
        evaluation.perplexity = {name: value if isinstance(value, float) else float("nan") for name, value in rows}
        return evaluation
    means = {task + suffix: name for suffix, name in GROUPS.items() if task + suffix in results["groups"]}
    samples: dict[str, int] = {}  # of the languages that are in the means
    for key in table:
        if key.startswith(task + "_") and key not in means:
            name, count = language(key, task), table[key]["sample_len"]
            evaluation.scores.append(score(name, table[key]["acc,none"], count, count))
            if key in members or not members:
                samples[name] = count
    for key, name in means.items():
        counts = [count for language_name, count in samples.items()
                  if name == "average" or (language_name in LOW_RESOURCE) == (name == "low-resource")]
        effective = len(counts) ** 2 / sum(1 / count for count in counts)
        evaluation.scores.append(score(name, table[key]["acc,none"], effective, table[key]["sample_len"]))
    return evaluation


def score(name: str, accuracy: float, effective: float, samples: int) -> Score:
    return Score(name, accuracy, *wilson(accuracy, effective), samples)


def language_of(folder: pathlib.Path, date: str, key: str, task: str) -> str:
    """The language's name behind "msvamp_bn", from the samples beside the results; else the code."""
    code = key.removeprefix(task + "_")
    for path in sorted(folder.glob(f"samples_*_{code}_{date}.jsonl")):
        with open(path, encoding="utf-8") as file:
            return json.loads(file.readline())["doc"]["language"]
    return code


@contextlib.contextmanager
def h5_file(path: pathlib.Path) -> Iterator[h5py.File]:
    """Errors: Refusal where the file is broken; OSError where it cannot be read."""
    with open(path, "rb") as opened:
        try:
            with h5py.File(opened, "r") as file:
                yield file
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise Refusal(f"{path}: not a file of representations of layalign-eval: {error}") from error


def read_representations(folder: pathlib.Path) -> dict[str, list[Representations]]:
    found: dict[str, list[Representations]] = {}
    for mode in MODES:
        for name in ("representations_untrained", "representations"):
            path = folder / mode / f"{name}.json"
            if path.is_file():
                found.setdefault(mode, []).append(read_similarities(path, mode))
    return found


def read_similarities(path: pathlib.Path, mode: str) -> Representations:
    """The numbers of a JSON file and what the HDF5 file beside it says of itself. Errors: Refusal."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        numbers = {layer: {language: {key: float("nan" if value is None else value) for key, value in row.items()}
                           for language, row in rows.items()} for layer, rows in document["layers"].items()}
        weights, sentences = document["weights"], int(document["sentences"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"{path}: not numbers of representations: {type(error).__name__} {error}") from error
    states = path.with_suffix(".h5")
    with h5_file(states) as file:
        languages, layers = (json.loads(file.attrs[key]) for key in ("languages", "layers"))
    if list(numbers) != layers or any(list(rows) != languages[1:] for rows in numbers.values()):
        raise Refusal(f"{path}: its layers or languages are not those of {states.name} beside it; make both again")
    return Representations(mode, weights, states, languages, sentences, layers, numbers)
