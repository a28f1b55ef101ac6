#!/usr/bin/env python3
"""The activation cache on medium models and MSVAMP lengths: build, then cached steps beside online steps.

    python cache.py --build DIR --work DIR [--threads 2] [--dtype float32] [--micro-batch 8] [--samples 400]

DIR of --build holds layalign-cache and tests/benchmark/cache_benchmark. The models (an mT5-small-like encoder and a Llama of 110 M
parameters, random weights, as decode.py makes them) are made in the work folder once; that needs torch and transformers
(tests/miniature/requirements.txt). Lengths come from the questions of tests/miniature/data/msvamp (one id for 3.2 characters); ids
are random. Prints one JSON line with the times of the build and those of cache_benchmark.
"""
import argparse, json, os, pathlib, random, re, shutil, subprocess, sys

import decode

HERE = pathlib.Path(__file__).resolve().parent
MSVAMP = HERE.parent / "miniature" / "data" / "msvamp"


def make_corpus(path, samples):
    generator = random.Random(0)
    lengths = [max(4, int(len(json.loads(line)["m_query"]) / 3.2))
               for file in sorted(MSVAMP.glob("*.jsonl")) for line in open(file, encoding="utf-8")]
    ids = lambda n: [generator.randrange(4, 30000) for _ in range(n)]
    with open(path, "w") as file:
        for _ in range(samples):
            n = generator.choice(lengths)
            file.write(json.dumps({"source": ids(n), "prompt": [], "target": ids(max(4, int(n * .8)))}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=400)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / "llm").is_dir():
        decode.make_models(args.work)
    make_corpus(args.work / "corpus.jsonl", args.samples)
    shutil.rmtree(args.work / "cache", ignore_errors=True)
    config = {"output": str(args.work / "out"), "model": {"encoder": str(args.work / "encoder"), "llm": str(args.work / "llm")},
              "parallel": {"device": "cpu", "threads": args.threads}, "cache": {"path": str(args.work / "cache"), "dtype": args.dtype},
              "stages": [{"corpus": {"format": "token_ids", "path": str(args.work / "corpus.jsonl")}, "epochs": 1,
                          "global_batch": args.micro_batch, "micro_batch": args.micro_batch}]}
    (args.work / "config.json").write_text(json.dumps(config))
    run = lambda *command: subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(args.threads)}).stdout
    text = run(args.build / "layalign-cache", "build", args.work / "config.json")
    encoder_s, beside = map(float, re.search(r"([0-9.]+) s in the encoder, ([0-9.]+) % of its time beside it", text).groups())
    build_s = encoder_s / (1 - beside / 100)
    report = {"dtype": args.dtype, "build_s": round(build_s, 3), "build_encoder_s": encoder_s}
    report |= json.loads(run(args.build / "tests" / "benchmark" / "cache_benchmark", args.work / "config.json").splitlines()[-1])
    report["build_overhead"] = build_s / report["bare_encoder_s"] - 1
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
