#!/usr/bin/env python3
"""What transformers computes with folders of `layalign-checkpoint export --format huggingface`.

    huggingface_outputs.py JOBS.json

JOBS.json holds a list of objects; a list of as many objects is printed as the last line, in JSON.
  folder    the exported folder; models: {encoder, llm}, other places than it names; save: a folder that the model is
            saved to and loaded from again
  samples   a JSONL file -> loss of a batch, mean loss of samples alone; greedy ids of a batch, of samples alone,
            without a cache, and of several outputs a sample
  lines, language   a file of text -> greedy texts; tokenizers: {encoder, llm}, other places of the tokenizers
Where the model refuses: {"refused": MESSAGE}.
"""
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


def run(job):
    models = job.get("models", {})

    def load(folder):
        return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **models)

    model = load(job["folder"])
    if "save" in job:
        model.save_pretrained(job["save"])
        model = load(job["save"])
    if "samples" in job:
        return ids_outputs(model, pathlib.Path(job["samples"]))
    processor = AutoProcessor.from_pretrained(job["folder"], trust_remote_code=True, **job.get("tokenizers", {}))
    return text_outputs(model, processor, pathlib.Path(job["lines"]), job["language"])


def main():
    torch.manual_seed(0)
    outputs = []
    for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        try:
            outputs.append(run(job))
        except (OSError, ValueError) as error:
            outputs.append(dict(refused=str(error)))
    print(json.dumps(outputs))


if __name__ == "__main__":
    main()
