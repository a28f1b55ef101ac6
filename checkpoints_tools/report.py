#!/usr/bin/env python3
"""Pictures of a run, or of several side by side, in one HTML file that needs nothing else.

    .venv/bin/python checkpoints_tools/report.py RUN... [--output FILE] [--title TEXT]

RUN is the output folder of layalign-train, finished or not. Shown are losses and learning rates, held-out perplexity
and accuracy by language, gates, fc1, representations, throughput, memory and the config. Accuracy and representations
are those of RUN/evaluation, where layalign-eval writes by default. The file is RUN/report.html, of several runs
comparison.html in the first one's folder.
It needs matplotlib, safetensors and h5py: .venv/bin/pip install -r checkpoints_tools/requirements.txt

Exit codes: 0 done, 2 usage, 65 a folder is no run or a file of it is broken, 74 a file cannot be read or written.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from typing import Sequence

try:
    from run_report.run_data import Refusal, Run, read_run
    from run_report.sections import report
except ModuleNotFoundError as missing:
    sys.exit(f"report: this Python has no {missing.name}; install what it needs: "
             ".venv/bin/pip install -r checkpoints_tools/requirements.txt")


def told_apart(runs: Sequence[Run]) -> None:
    """Runs whose folders have the same name are labelled by their paths."""
    labels = [run.label for run in runs]
    for run in runs:
        if labels.count(run.label) > 1:
            run.label = str(run.path)


def write_whole(path: pathlib.Path, text: str) -> None:
    """The old file or the new one, never a half."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of runs in one self-contained HTML file.")
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="the output folder of layalign-train")
    parser.add_argument("--output", metavar="FILE", type=pathlib.Path,
                        help="default: RUN/report.html, of several runs comparison.html in the first one's folder")
    parser.add_argument("--title", help="default: the names of the runs")
    arguments = parser.parse_args()
    output = arguments.output or arguments.runs[0] / ("report.html" if len(arguments.runs) == 1 else "comparison.html")
    try:
        runs = [read_run(path) for path in arguments.runs]
        told_apart(runs)
        write_whole(output, report(runs, arguments.title or ", ".join(run.label for run in runs)))
    except Refusal as refusal:
        print(f"report: {refusal}", file=sys.stderr)
        return 65
    except OSError as error:
        print(f"report: {error.filename or output}: {error.strerror}", file=sys.stderr)
        return 74
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
