#!/usr/bin/env python3
"""Training steps of layalign beside what a user would run instead (peer_bench.py), on the same models, batches and trainables.

    compare.py --work DIR [--build build] [--stage 1|2] [--equal-lengths] [--pairs 5] [--steps 6] [--micro-batch 8] [--threads 2]
               [--device cpu|cuda] [--dtype float32] [--ranks 1]

The medium models of the peer (mT5-small-like encoder, Llama of 110 M, random weights) and the batches (lengths of MSVAMP's questions, or
all of 48 and 96 tokens) are made in the work folder once. The programs run in turns. With --ranks 2 layalign shards the LLM over two ranks
of half the threads each. Prints a JSON line a run, then the median, least and largest ratio of the pairs (ours / peer), and the largest
relative difference of a loss. Needs torch and transformers (tests/miniature/requirements.txt).
"""
import argparse, json, os, pathlib, random, statistics, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent


def equal_batches(path, stage, micro_batch, steps):
    generator = random.Random(0)
    ids = lambda n: [generator.randrange(4, 30000) for _ in range(n)]
    sample = lambda: {"source": ids(48), "prompt": ids(78) if stage == 2 else [], "target": ids(38)}
    path.write_text(json.dumps({"batches": [[sample() for _ in range(micro_batch)] for _ in range(steps)]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    parser.add_argument("--stage", type=int, default=1, choices=(1, 2))
    parser.add_argument("--equal-lengths", action="store_true")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    models = ["--encoder", args.work / "encoder", "--llm", args.work / "llm"]

    def run(command, threads):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    peer = [sys.executable, HERE / "peer_bench.py"]
    if not (args.work / "llm").is_dir():
        run([*peer, "--make-models", args.work], args.threads)
    batches = args.work / f"batches-{args.stage}{'-equal' if args.equal_lengths else ''}-{args.micro_batch}-{args.steps}.json"
    if args.equal_lengths:
        equal_batches(batches, args.stage, args.micro_batch, args.steps)
    elif not batches.exists():
        texts = sorted((HERE.parent / "miniature" / "data" / "msvamp").glob("*.jsonl"))
        run([*peer, "--make-batches", batches, *models, "--stage", args.stage, "--micro-batch", args.micro_batch, "--steps", args.steps,
             "--data", *texts], args.threads)
    common = [*models, "--batches", batches, "--device", args.device, "--dtype", args.dtype]
    init = args.work / "init.safetensors"
    if not init.exists():
        run([*peer, *common, "--threads", args.threads, "--save-init", init], args.threads)

    own_threads = max(1, args.threads // args.ranks)
    launcher = [HERE.parent / "mpirun.sh", "-n", args.ranks] if args.ranks > 1 else []
    ours = [*launcher, args.build / "tests" / "benchmark" / "step_benchmark", *common, "--threads", own_threads, "--init", init]
    theirs = [*peer, *common, "--threads", args.threads, "--init", init]
    pairs = []
    for _ in range(args.pairs):
        pair = []
        for name, command, threads in (("layalign", ours, own_threads), ("peer", theirs, args.threads)):
            pair.append(json.loads(run(command, threads).splitlines()[-1]))
            print(json.dumps({"program": name, **pair[-1]}), flush=True)
        pairs.append(pair)
    for key in ("step_s_median", "step_s_min", "tokens_per_s", "peak_mib"):
        ratios = [a[key] / b[key] for a, b in pairs]
        print(f"{key:14} ours / peer: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    difference = max(abs(x / y - 1) for a, b in pairs for x, y in zip(a["losses"], b["losses"], strict=True))
    print(f"losses         largest relative difference {difference:.2e}")


if __name__ == "__main__":
    main()
