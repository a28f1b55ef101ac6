#!/usr/bin/env python3
"""Make the tiny models and golden files of tests/data/golden that no tokenizer needs: one line of CASES each.

    python make_cases.py ../../data/golden [NAME ...]

A case is ENCODER-LLM-stageN-STRUCTURE; its two model folders are made (or taken as they are, where this script has no
recipe for them) under GOLDEN/models, and layalign_oracle.py computes the numbers. Sizes are odd on purpose: vocabularies
that two or four ranks do not divide, widths that no kernel likes, biases and norms that are not trivial.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import torch
import transformers as tf

SMALL = dict(max_position_embeddings=128, bos_token_id=1, eos_token_id=2)

# name -> (class, config, seed)
MODELS = {
    "qwen3": (tf.Qwen3ForCausalLM, lambda: tf.Qwen3Config(
        vocab_size=223, hidden_size=38, intermediate_size=75, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=14, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False, **SMALL), 31),
    "qwen3-tied": (tf.Qwen3ForCausalLM, lambda: tf.Qwen3Config(
        vocab_size=181, hidden_size=30, intermediate_size=53, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=3, head_dim=8, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 5e4},
        tie_word_embeddings=True, **SMALL), 32),
}
# config.json in the form of transformers 4, as on the hub
TRANSFORMERS_4 = {"qwen3-tied"}

# golden file -> arguments of the oracle
CASES = {
    "mt5-qwen3-stage2-Linear": ["--seed", "31"],
    "t5-qwen3-tied-stage1-MLP": ["--seed", "32", "--encoder-layers", "3", "0", "2", "--language-layers", "1", "3", "0"],
}


def randomise(model, seed, std=0.25):
    """Every weight is far from trivial: transformers' own 0.02 would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(std * noise if p.dim() > 1 else 0.1 * noise if "bias" in name else 1 + 0.2 * noise)
    return model.eval()


def to_transformers_4(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters", None)
    if rope:
        config["rope_theta"], config["rope_scaling"] = rope["rope_theta"], None
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.51.0"
    config.pop("layer_types", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make_model(folder):
    if folder.name not in MODELS:
        if not folder.is_dir():
            sys.exit(f"{folder}: no such model, and no recipe for it here")
        return
    cls, config, seed = MODELS[folder.name]
    randomise(cls(config()), seed).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if folder.name in TRANSFORMERS_4:
        to_transformers_4(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=pathlib.Path)
    parser.add_argument("names", nargs="*", choices=[[], *CASES], help="cases to make; default: all")
    args = parser.parse_args()
    oracle = pathlib.Path(__file__).with_name("layalign_oracle.py")
    for name in args.names or CASES:
        pair, structure = name.rsplit("-", 1)
        pair, stage = pair.rsplit("-stage", 1)
        encoder, llm = (args.golden / "models" / part for part in pair.split("-", 1))
        make_model(encoder)
        make_model(llm)
        subprocess.run([sys.executable, oracle, "--encoder", encoder, "--llm", llm, "--stage", stage, "--structure", structure,
                        "--out", args.golden / f"{name}.safetensors", *CASES[name]], check=True)


if __name__ == "__main__":
    main()
