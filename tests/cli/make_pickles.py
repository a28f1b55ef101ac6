"""Writes model folders with pickled weights under the folder given, for convert_bin_test.cpp.

FOLDER/CASE/pytorch_model*.bin, and where the case can be converted FOLDER/CASE/expected/NAME: the bytes of that tensor,
row-major.
"""
import json
import os
import pathlib
import sys

import torch


class Program:
    """Runs when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def expect(folder, weights):
    (folder / "expected").mkdir(parents=True)
    for name, tensor in weights.items():
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
        (folder / "expected" / name).write_bytes(bytes(raw))


def index_of(folder, shards):
    weight_map = {name: file for file, weights in shards.items() for name in weights}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def single(root):
    folder = root / "single"
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    shared = torch.randn(5, 3)
    weights = {
        "encoder.embed_tokens.weight": shared, "shared.weight": shared, "lm_head.weight": shared,
        "transposed": base.t(), "rows": base[1:3], "column": base[:, 2],
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "bfloat16": torch.randn(7, 2).to(torch.bfloat16), "float16": torch.randn(3).half(),
        "float64": torch.randn(2).double(),
        "float8": torch.randn(5).to(torch.float8_e4m3fn), "int64": torch.tensor([-1, 2**62]),
        "int8": torch.tensor([-128, 127], dtype=torch.int8),
        "uint8": torch.tensor([0, 255], dtype=torch.uint8), "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(-0.0), "empty": torch.empty(0, 4), "nan": torch.tensor([float("nan"), float("-inf")]),
        "name with \u00e4 \"quote\"": torch.ones(1),
    }
    dropped = ("encoder.embed_tokens.weight", "lm_head.weight")
    expect(folder, {name: tensor for name, tensor in weights.items() if name not in dropped})
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text("{}")


def sharded(root, name, damage=None):
    folder = root / name
    shards = {"pytorch_model-00001-of-00002.bin": {"a": torch.randn(3, 4), "b": torch.randn(2)},
              "pytorch_model-00002-of-00002.bin": {"c": torch.randn(5).to(torch.bfloat16)}}
    expect(folder, {name: tensor for weights in shards.values() for name, tensor in weights.items()})
    index_of(folder, shards)
    if damage:
        damage(folder, shards)
    for file, weights in shards.items():
        torch.save(weights, folder / file)
    return folder


def saved(root, name, content, **how):
    (root / name).mkdir()
    torch.save(content, root / name / "pytorch_model.bin", **how)


def main():
    root = pathlib.Path(sys.argv[1])
    torch.manual_seed(0)
    single(root)
    sharded(root, "sharded")
    weights = {"a": torch.randn(3, 2)}
    expect(root / "legacy", weights)
    torch.save(weights, root / "legacy/pytorch_model.bin", _use_new_zipfile_serialization=False)
    saved(root, "program", {"a": Program(f"touch {root}/program_ran")})
    saved(root, "checkpoint", {"model": {"a": torch.ones(2)}, "step": 3})
    saved(root, "complex", {"a": torch.ones(2, dtype=torch.complex64)})
    saved(root, "list", [torch.ones(2)])
    saved(root, "torn", weights)
    torn = root / "torn/pytorch_model.bin"
    torn.write_bytes(torn.read_bytes()[:-100])
    last = sharded(root, "last_shard_torn") / "pytorch_model-00002-of-00002.bin"
    last.write_bytes(b"no weights")
    sharded(root, "shard_missing", lambda folder, shards: shards.popitem())
    sharded(root, "shard_lacks", lambda folder, shards: shards["pytorch_model-00001-of-00002.bin"].pop("b"))
    sharded(root, "unlisted", lambda folder, shards: shards["pytorch_model-00001-of-00002.bin"].update(d=torch.ones(1)))


main()
