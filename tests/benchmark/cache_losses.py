#!/usr/bin/env python3
"""What the cache's dtypes do to the losses of the golden models: training online beside training from a cache, step by step.

    python cache_losses.py --build build --work DIR

Every golden file of the whole model with an mT5 encoder, its five AdamW steps. Prints a JSON line a dtype: bytes a token, the largest and the mean
relative difference of a loss. Standard library only.
"""
import argparse, json, pathlib, re, struct, subprocess, sys

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "data" / "golden"


def metadata(path):
    with open(path, "rb") as file:
        return json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))["__metadata__"]


def run(*command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def losses(args, config, name, *more):
    output = args.work / name
    run(args.build / "layalign-train", config, "--set", f"output={output}", *more)
    return [json.loads(line)["loss"] for line in open(output / "metrics.jsonl")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="a folder that does not exist yet")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.work.mkdir(parents=True)
    found = {dtype: [] for dtype in ("float32", "bfloat16", "float8")}
    bytes_a_token = {}
    for path in sorted(path for path in GOLDEN.glob("mt5-*.safetensors") if path.stem.endswith(("-Linear", "-MLP"))):
        facts = metadata(path)
        llm = path.stem.split("-stage")[0].removeprefix("mt5-")
        samples = json.loads(facts["samples"])
        corpus = args.work / (path.stem + ".jsonl")
        corpus.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        config = args.work / (path.stem + ".json")
        config.write_text(json.dumps({
            "model": {"encoder": str(GOLDEN / "models" / "mt5"), "llm": str(GOLDEN / "models" / llm), "structure": facts["structure"],
                      "encoder_layers": json.loads(facts["encoder_layers"]), "language_layers": json.loads(facts["language_layers"]),
                      "init": str(path)},
            "parallel": {"device": "cpu"}, "optimizer": {"eps": float(facts["eps"])}, "schedule": {"name": "constant", "warmup": 0.0},
            "stages": [{"name": "golden", "corpus": {"format": "token_ids", "path": str(corpus)}, "prompt": True, "epochs": 5,
                        "global_batch": len(samples), "micro_batch": 2, "dev_size": 0, "lr": float(facts["lr"])}]}))
        online = losses(args, config, path.stem + "-online")
        for dtype, differences in found.items():
            cache = args.work / f"{path.stem}-{dtype}-cache"
            keys = ("--set", f"cache.path={cache}", "--set", f"cache.dtype={dtype}")
            run(args.build / "layalign-cache", "build", config, *keys)
            bytes_a_token[dtype] = int(re.search(r"bytes a token +(\d+)", run(args.build / "layalign-cache", "info", cache))[1])
            cached = losses(args, config, f"{path.stem}-{dtype}", *keys, "--set", "cache.mode=read")
            differences += [abs(mine / theirs - 1) for mine, theirs in zip(cached, online, strict=True)]
    for dtype, differences in found.items():
        print(json.dumps({"dtype": dtype, "bytes_a_token": bytes_a_token[dtype], "losses": len(differences),
                          "largest": max(differences), "mean": sum(differences) / len(differences)}))


if __name__ == "__main__":
    sys.exit(main())
