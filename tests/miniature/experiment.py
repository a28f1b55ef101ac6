#!/usr/bin/env python3
"""Train and score the small experiment over several seeds, and print its table.

    python experiment.py --build ../../build --work ../../runs/experiment [--seeds 3] [--check] [--set KEY=VALUE ...]

For each seed LayAlign and the mapping alone (aligner: none, trained the same way); the frozen LLM once. An answer is right where the
value of the expression that was written is the answer; "result" is the rule of the C++, which takes the number after '='.
A run that is there already is left alone, so the same command goes on. --check: the averages must lie in bands.json.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

from problems import HERE, LANGUAGES, written_value

REPOSITORY = HERE.parents[1]
METHODS = {"mapping": ["--set", "model.aligner=none"], "layalign": []}
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMP_NUM_THREADS": "1"}


def launch(program, arguments, run, extra):
    command = ["mpirun", "-n", "2", "--bind-to", "none", program, "configs/quickstart.yaml", *arguments, "--set", f"output={run}", *extra]
    print("$", " ".join(map(str, command)), flush=True)
    subprocess.run(command, cwd=REPOSITORY, env=ENVIRONMENT, check=True)


def scores(folder):
    """{language: (share of right expressions, share of right results)} of what layalign-eval wrote."""
    table = {}
    for language in LANGUAGES:
        rows = json.loads((folder / "msvamp" / f"{language}.json").read_text())
        right = [written_value(row["output"].strip()) == float(row["answer"]) for row in rows]
        table[language] = (statistics.mean(right), statistics.mean(row["correct"] for row in rows))
    return table


def check_bands(results, non_english):
    """The exit code: 1 where a method's mean share of right equations has left its band, in English or in the mean of the others."""
    code = 0
    for method, bands in json.loads((HERE / "bands.json").read_text()).items():
        for name, languages in (("English", ["English"]), ("non-English", non_english)):
            mean = 100 * statistics.mean(table[language][0] for table in results[method] for language in languages)
            low, high = bands[name]
            inside = low <= mean <= high
            code |= not inside
            print(f"{'ok  ' if inside else 'FAIL'} {method} {name}: {mean:.1f}, recorded {low} to {high}")
    return int(code)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit code 1 where an average is outside of bands.json")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    build, work = arguments.build.resolve(), arguments.work.resolve()
    subprocess.run([sys.executable, HERE / "make_corpora.py", "--out", work / "data"], check=True)  # the same bytes each time
    settings = [part for setting in [f"data.root={work / 'data'}", *arguments.set] for part in ("--set", setting)]
    results = {method: [] for method in ("llm", *METHODS)}
    for seed in range(arguments.seeds):
        for method, changes in METHODS.items():
            run = work / f"{method}-{seed}"
            extra = [*changes, "--set", f"seed={seed}", *settings]
            if not (run / "summary.json").exists():
                launch(build / "layalign-train", [], run, extra)
            compared = ["llm", method] if seed == 0 and method == "layalign" else [method]
            if not (run / "evaluation" / method / "msvamp" / "scores.tsv").exists():
                launch(build / "layalign-eval", ["--task", "msvamp", "--compare", ",".join(compared)], run, extra)
            for mode in compared:
                results[mode].append(scores(run / "evaluation" / mode))
    print(f"\n{'equations right, %':20}" + "".join(f"{method:>20}" for method in results))
    non_english = [language for language in LANGUAGES if language != "English"]
    for name, languages in [*((language, [language]) for language in LANGUAGES),
                            ("low-resource", ["Bengali", "Swahili", "Thai"]), ("non-English", non_english)]:
        line = f"{name:20}"
        for tables in results.values():
            means = [[100 * statistics.mean(table[language][kind] for language in languages) for table in tables] for kind in (0, 1)]
            spread = statistics.stdev(means[0]) if len(tables) > 1 else 0.0
            line += f"{statistics.mean(means[0]):8.1f} +-{spread:4.1f} ({statistics.mean(means[1]):3.0f})"
        print(line)
    print("mean +- standard deviation over seeds; in parentheses: the number after '=' is right")
    if arguments.check:
        sys.exit(check_bands(results, non_english))


if __name__ == "__main__":
    main()
