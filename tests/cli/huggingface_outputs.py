#!/usr/bin/env python3
"""What transformers computes with a folder of `layalign-checkpoint export --format huggingface`, as a line of JSON.

    huggingface_outputs.py FOLDER ids SAMPLES.jsonl      loss of a batch, mean loss of samples alone; greedy ids of a batch,
                                                         of samples alone, without a cache, of each of two equal beams
    huggingface_outputs.py FOLDER text LINES LANGUAGE    greedy texts

A refusal of the model's is printed as `refused: MESSAGE`, with exit code 3.
"""
import argparse
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoProcessor

NEW_TOKENS = {"ids": 16, "text": 8}


def padded(rows, filler):
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def batch_of(samples, labels):
    batch = {}
    for name in ("source", "prompt"):
        rows = [sample[name] for sample in samples]
        if any(rows):
            # the padding is a token that exists: only the mask says that it is none
            batch[f"{name}_ids"] = padded(rows, 5)
            batch[f"{name}_mask"] = padded([[1] * len(row) for row in rows], 0)
    if labels:
        batch["labels"] = padded([sample["target"] for sample in samples], -100)
    return batch


def until_end(model, ids):
    ends = set(model.generation_config.eos_token_id)
    rows = []
    for row in ids.tolist():
        end = next((i for i, token in enumerate(row) if token in ends), len(row))
        rows.append(row[: end + 1])
    return rows


def ids_outputs(model, path):
    samples = [json.loads(line) for line in path.read_text().splitlines()]

    def generate(some, **options):
        made = model.generate(**batch_of(some, False), max_new_tokens=NEW_TOKENS["ids"], **options)
        return until_end(model, made)

    with torch.no_grad():
        alone = sum(float(model(**batch_of([sample], True)).loss) * len(sample["target"]) for sample in samples)
        loss = float(model(**batch_of(samples, True)).loss)
    labels = sum(len(sample["target"]) for sample in samples)
    alone_ids = [generate([sample])[0] for sample in samples]
    # several outputs of a sample read the same source
    several = model.generate(**batch_of(samples, False), max_new_tokens=NEW_TOKENS["ids"], do_sample=True, top_k=1,
                             num_return_sequences=2)
    return dict(loss=loss, loss_alone=alone / labels, ids=generate(samples), ids_alone=alone_ids,
                ids_without_cache=generate(samples, use_cache=False), ids_twice=until_end(model, several))


def text_outputs(model, processor, path, language):
    batch = processor(path.read_text().splitlines(), language=language)
    return dict(texts=processor.decode(model.generate(**batch, max_new_tokens=NEW_TOKENS["text"])))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("what", choices=["ids", "text"])
    parser.add_argument("input", type=pathlib.Path)
    parser.add_argument("language", nargs="?")
    parser.add_argument("--encoder")
    parser.add_argument("--llm")
    parser.add_argument("--save", help="saves the model there, and goes on with what is loaded from there")
    args = parser.parse_args()
    torch.manual_seed(0)
    models = {name: getattr(args, name) for name in ("encoder", "llm") if getattr(args, name)}

    def load(folder):
        return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **models)

    try:
        model = load(args.folder)
        if args.save:
            model.save_pretrained(args.save)
            model = load(args.save)
        if args.what == "ids":
            outputs = ids_outputs(model, args.input)
        else:
            processor = AutoProcessor.from_pretrained(args.folder, trust_remote_code=True, **models)
            outputs = text_outputs(model, processor, args.input, args.language)
    except (OSError, ValueError) as error:
        print(f"refused: {error}")
        sys.exit(3)
    print(json.dumps(outputs))


if __name__ == "__main__":
    main()
