"""Mean states of transformers' models beside those in files of representations: representations_reference.py MODELS DATA LLM.h5 ENCODER.h5

MODELS holds the folders encoder (mT5) and llm (Llama), DATA test_LANGUAGE.jsonl. Prints the largest difference of each file as a
fraction of the largest entry of its vector, as a JSON list."""

import json
import pathlib
import sys

import h5py
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MT5EncoderModel

PROMPT = ("Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
          "### Instruction:\n{}\n\n### Response: Let's think step by step.")
models, data = map(pathlib.Path, sys.argv[1:3])


@torch.no_grad()
def largest_difference(path, name, model, inputs, skip):
    """`skip`: how many tokens in front are left out of the mean."""
    largest = 0.0
    with h5py.File(path) as file:
        sentences = file["sentences"][...]
        for place, language in enumerate(json.loads(file.attrs["languages"])):
            lines = (data / f"test_{language}.jsonl").read_text(encoding="utf-8").splitlines()
            for row, sentence in enumerate(sentences):
                ids = torch.tensor([inputs(json.loads(lines[sentence])["m_query"])])
                states = model(ids, output_hidden_states=True).hidden_states
                assert f"{name}.{len(states)}" not in file
                for layer, hidden in enumerate(states):
                    expected = hidden[0, skip:].mean(0).numpy()
                    difference = np.abs(file[f"{name}.{layer}"][place, row] - expected).max() / np.abs(expected).max()
                    largest = max(largest, float(difference))
    return largest


llm = AutoModelForCausalLM.from_pretrained(models / "llm").float().eval()
llm_text = AutoTokenizer.from_pretrained(models / "llm")
encoder = MT5EncoderModel.from_pretrained(models / "encoder").float().eval()
encoder_text = AutoTokenizer.from_pretrained(models / "encoder")
print(json.dumps([
    largest_difference(sys.argv[3], "llm", llm, lambda text: [llm.config.bos_token_id] + llm_text(
        PROMPT.format(text), add_special_tokens=False)["input_ids"], skip=1),
    largest_difference(sys.argv[4], "encoder", encoder, lambda text: encoder_text(text)["input_ids"], skip=0)]))
