#!/usr/bin/env python3
"""Make the tiny models and golden files of tests/data/golden that no tokenizer needs: one line of CASES each.

    python make_cases.py ../../data/golden [NAME ...]

A case is ENCODER-LLM-stageN-STRUCTURE, or -NAME where an ablation is the point; its two model folders are made (or taken as they are, where this script has no
recipe for them) under GOLDEN/models, and layalign_oracle.py computes the numbers. Sizes are odd on purpose: vocabularies
that two or four ranks do not divide, widths that no kernel likes, biases and norms that are not trivial.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import safetensors.torch
import torch
import transformers as tf

SMALL = dict(max_position_embeddings=128, bos_token_id=1, eos_token_id=2)

# The padding token is an ordinary token of the samples here, since positions and table rows depend on it.
SMALL_ENCODER = dict(pad_token_id=9, vocab_size=61)

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
    # an odd width; the table of positions has to grow
    "m2m": (tf.M2M100ForConditionalGeneration, lambda: tf.M2M100Config(
        d_model=27, encoder_layers=3, decoder_layers=1, encoder_attention_heads=3, decoder_attention_heads=1,
        encoder_ffn_dim=43, decoder_ffn_dim=5, max_position_embeddings=9, activation_function="gelu",
        scale_embedding=False, **SMALL_ENCODER), 33),
    "xglm": (tf.XGLMForCausalLM, lambda: tf.XGLMConfig(
        d_model=33, num_layers=3, attention_heads=3, ffn_dim=47, max_position_embeddings=9, **SMALL_ENCODER), 34),
    "gpt2": (tf.GPT2LMHeadModel, lambda: tf.GPT2Config(
        n_embd=30, n_layer=3, n_head=5, n_positions=14, scale_attn_by_inverse_layer_idx=True, **SMALL_ENCODER), 35),
    "bert": (tf.BertForMaskedLM, lambda: tf.BertConfig(
        hidden_size=27, num_hidden_layers=3, num_attention_heads=3, intermediate_size=41, max_position_embeddings=14,
        type_vocab_size=3, hidden_act="gelu_new", **SMALL_ENCODER), 36),
    "roberta": (tf.RobertaModel, lambda: tf.RobertaConfig(
        hidden_size=30, num_hidden_layers=4, num_attention_heads=5, intermediate_size=37, max_position_embeddings=23,
        type_vocab_size=2, layer_norm_eps=1e-5, **SMALL_ENCODER), 37),
}
# config.json in the form of transformers 4, as on the hub
TRANSFORMERS_4 = {"qwen3-tied", "bert", "gpt2"}
# norms named as in the folders that were once converted from TensorFlow
GAMMA_AND_BETA = {"bert"}

# golden file -> arguments of the oracle
CASES = {
    "mt5-qwen3-stage2-Linear": ["--seed", "31"],
    "t5-qwen3-tied-stage1-MLP": ["--seed", "32", "--encoder-layers", "3", "0", "2", "--language-layers", "1", "3", "0"],
    "m2m-qwen2-tied-stage1-Linear": ["--seed", "33", "--encoder-layers", "3", "0", "2"],
    "xglm-qwen2-tied-stage2-MLP": ["--seed", "34", "--encoder-layers", "0", "1", "2", "3"],
    "gpt2-qwen2-tied-stage2-Linear": ["--seed", "35", "--encoder-layers", "2", "3", "0"],
    "bert-qwen2-tied-stage1-MLP": ["--seed", "36", "--encoder-layers", "0", "1", "2", "3"],
    "roberta-qwen2-tied-stage1-Linear": ["--seed", "37", "--encoder-layers", "4", "0", "3", "1"],
    "qwen3-qwen2-tied-stage2-Linear": ["--seed", "38", "--encoder-layers", "0", "3", "1"],
    "mistral-qwen2-tied-stage1-Linear": ["--seed", "39", "--encoder-layers", "0", "1", "2", "3"],
    "mt5-mistral-stage2-dynamic_gate": ["--seed", "40", "--structure", "MLP", "--gate", "dynamic", "--language-layers", "2", "0"],
    "mt5-qwen2-tied-stage2-uniform_mean": ["--seed", "41", "--aligner", "uniform_mean", "--gate", "none"],
    "mt5-qwen2-tied-stage2-mindmerger": ["--seed", "42", "--aligner", "none"],
    "mt5-llama-gqa-stage1-langbridge": ["--seed", "43", "--mapping", "linear", "--aligner", "none"],
    "mt5-mistral-stage1-no_mapping": ["--seed", "44", "--mapping", "none"],
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


def name_norms_gamma_and_beta(folder):
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    renamed = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
               for name, tensor in tensors.items()}
    safetensors.torch.save_file(renamed, path, metadata={"format": "pt"})


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
    if folder.name in GAMMA_AND_BETA:
        name_norms_gamma_and_beta(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=pathlib.Path)
    parser.add_argument("names", nargs="*", choices=[[], *CASES], help="cases to make; default: all")
    args = parser.parse_args()
    oracle = pathlib.Path(__file__).with_name("layalign_oracle.py")
    for name in args.names or CASES:
        pair, label = name.rsplit("-", 1)
        pair, stage = pair.rsplit("-stage", 1)
        encoder, llm = (args.golden / "models" / part for part in pair.split("-", 1))
        make_model(encoder)
        make_model(llm)
        structure = ["--structure", label] if label in ("Linear", "MLP") else []
        subprocess.run([sys.executable, oracle, "--encoder", encoder, "--llm", llm, "--stage", stage, *structure, "--out",
                        args.golden / f"{name}.safetensors", *CASES[name]], check=True)


if __name__ == "__main__":
    main()
