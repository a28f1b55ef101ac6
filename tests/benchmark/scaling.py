#!/usr/bin/env python3
"""How a training step's time and memory grow with tokens, LLM layers, source length and ranks.

    scaling.py --work DIR [--build build] [--threads 2] [--steps 4] [--plot FILE.svg]

Steps of step_benchmark in float32 on the CPU with the medium models of compare.py (their LLM with other numbers of layers too, random
weights), 8 samples of 48 source, 78 prompt and 38 target tokens unless the curve says otherwise. Prints a JSON line a point, for each
curve the least-squares line through its points with the share of the variance that it explains; --plot draws both. Ranks are printed
only. Run it on an idle machine.
Needs torch, transformers and matplotlib (tests/requirements.txt).
"""
import argparse, json, os, pathlib, random, statistics, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES, SOURCE, PROMPT, TARGET, LAYERS = 8, 48, 78, 38, 12
CURVES = {"tokens": (2, 4, 8, 16, 24), "layers": (3, 6, 12, 18, 24), "source": (16, 48, 128, 256, 384)}
TITLES = {"tokens": "LLM tokens a step", "layers": "LLM layers", "source": "source tokens a sample"}


def make_models(work):
    import torch
    import transformers as tf

    tf.utils.logging.disable_progress_bar()
    if not (work / "llm").is_dir():
        subprocess.run([sys.executable, HERE / "peer_bench.py", "--make-models", work], check=True, stdout=subprocess.DEVNULL)
    for layers in CURVES["layers"]:
        folder = work / f"llm-{layers}"
        if layers != LAYERS and not folder.is_dir():
            torch.manual_seed(0)
            config = tf.LlamaConfig.from_pretrained(work / "llm", num_hidden_layers=layers)
            tf.LlamaForCausalLM(config).save_pretrained(folder)


def batches(path, steps, samples=SAMPLES, source=SOURCE):
    generator = random.Random(0)
    ids = lambda n: [generator.randrange(4, 30000) for _ in range(n)]
    sample = lambda: {"source": ids(source), "prompt": ids(PROMPT), "target": ids(TARGET)}
    path.write_text(json.dumps({"batches": [[sample() for _ in range(samples)] for _ in range(steps)]}))


def line(points):
    """Slope, value at 0 and share of the variance explained."""
    xs, ys = zip(*points)
    slope, start = statistics.linear_regression(xs, ys)
    return slope, start, statistics.correlation(xs, ys) ** 2


def plot(path, points, lines):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "scaling"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(CURVES), figsize=(9, 4.6), sharex="col", layout="constrained")
    for column, curve in enumerate(CURVES):
        for row, (key, unit) in enumerate((("step_s_median", "s a step"), ("peak_mib", "peak MiB"))):
            ax = axes[row][column]
            xs, ys = zip(*points[curve][key])
            slope, start, share = lines[curve][key]
            ax.plot([0, max(xs)], [start, start + slope * max(xs)], color="#9aa4b2", linewidth=1)
            ax.plot(xs, ys, "o", color="#1f6feb", markersize=5)
            ax.set_ylim(0, 1.1 * max(ys))
            ax.set_xlim(0, 1.05 * max(xs))
            ax.set_title(f"line explains {100 * share:.1f} %", fontsize=8, color="#57606a", loc="left")
            ax.grid(color="#e5e8ec", linewidth=0.6)
            ax.spines[["top", "right"]].set_visible(False)
            if column == 0:
                ax.set_ylabel(unit)
            if row == 1:
                ax.set_xlabel(TITLES[curve])
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--plot", type=pathlib.Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    make_models(args.work)
    file = args.work / "scaling-batches.json"

    def run(curve, x, llm, threads, ranks=1):
        launcher = [HERE.parent / "mpirun.sh", "-n", ranks] if ranks > 1 else []
        command = [*launcher, args.build / "tests" / "benchmark" / "step_benchmark", "--encoder", args.work / "encoder", "--llm", llm,
                   "--batches", file, "--threads", threads]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps({"curve": curve, "x": x, **{key: result[key] for key in ("step_s_median", "step_s_min", "peak_mib")}}), flush=True)
        return result

    llm = args.work / "llm"
    points = {curve: {"step_s_median": [], "peak_mib": []} for curve in CURVES}
    for curve, values in CURVES.items():
        for value in values:
            batches(file, args.steps, **({"samples": value} if curve == "tokens" else {"source": value} if curve == "source" else {}))
            x = value * (1 + SOURCE + 1 + PROMPT + TARGET - 1) if curve == "tokens" else value
            folder = args.work / f"llm-{value}" if curve == "layers" and value != LAYERS else llm
            result = run(curve, x, folder, args.threads)
            for key, of_curve in points[curve].items():
                of_curve.append((x, result[key]))
    batches(file, args.steps)
    for ranks in (1, 2):
        run("ranks of one thread, tensor parallel", ranks, llm, 1, ranks)

    lines = {curve: {key: line(values) for key, values in keys.items()} for curve, keys in points.items()}
    for curve, keys in lines.items():
        for key, (slope, start, share) in keys.items():
            print(f"{TITLES[curve]:24} {key:14} = {start:.4g} + {slope:.4g} x, {100 * share:.2f} % of the variance")
    if args.plot:
        plot(args.plot, points, lines)


if __name__ == "__main__":
    main()
