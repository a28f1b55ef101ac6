#!/usr/bin/env python3
"""Turns the pickled weights of a Hugging Face model folder into safetensors.

    .venv/bin/python checkpoints_tools/convert_bin.py FOLDER [--force]

pytorch_model.bin becomes model.safetensors; pytorch_model.bin.index.json and its shards become
model.safetensors.index.json and as many shards. The other files of the folder stay as they are, the .bin files too.
Nothing that a pickle could run is run (torch.load with weights_only). Tensors are written as they are: no dtype
changes. A shard at a time is mapped. New files appear under their names only when all are complete.

Exit codes: 0 done, 2 usage, 65 the weights cannot be converted, 74 a file cannot be read or written.
"""

import argparse
import ctypes
import json
import os
import pathlib
import re
import sys
import zipfile

try:
    import torch
except ImportError:
    sys.exit("convert_bin: this Python has no torch; use that of the set-up: "
             ".venv/bin/python checkpoints_tools/convert_bin.py")

SINGLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
NEW_SINGLE, NEW_INDEX = "model.safetensors", "model.safetensors.index.json"

# In the order in which the reference writer lays tensors out.
DTYPES = {
    torch.uint64: "U64", torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.uint32: "U32",
    torch.int32: "I32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint16: "U16", torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}
RANKS = {dtype: rank for rank, dtype in enumerate(DTYPES)}
MIB = 1 << 20
LFS_POINTER = b"version https://git-lfs"


class Refusal(Exception):
    """The weights cannot be converted: what, where, what to do."""


def load(path):
    """name -> tensor of one pickled file, mapped where its format allows."""
    with open(path, "rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise Refusal(f"{path}: holds a git-lfs pointer and not the weights; run git lfs pull in the folder")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except Exception as error:  # of many kinds for damaged files
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise Refusal(f"{path}: holds more than weights ({found[1]}), which loading would run; nothing of it was "
                          "run. Get the weights from another source") from error
        raise Refusal(f"{path}: not a file of torch.save, or a damaged one ({reason_of(error)}); download it "
                      "again") from error
    if not isinstance(weights, dict) or not weights:
        raise Refusal(f"{path}: holds no weights by name, but a {type(weights).__name__}")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise Refusal(f"{path}: '{name}' is a {type(tensor).__name__} and not a tensor; is this a training "
                          "checkpoint? Save the model's weights alone")
        if tensor.layout != torch.strided or tensor.dtype not in DTYPES:
            raise Refusal(f"{path}: '{name}' is {tensor.layout}, {tensor.dtype}, which safetensors cannot hold")
    return weights


def reason_of(error):
    return (str(error) or type(error).__name__).splitlines()[0].split(". ")[0]


def preference(name):
    """Of several names of one tensor the one to keep comes first: as transformers does, the embedding and not the
    head, and of several embeddings the shared one."""
    part_of_one_side = name.startswith(("encoder.", "decoder.", "model.encoder.", "model.decoder."))
    embeddings = ("shared.weight", "embed_tokens.weight", "word_embeddings.weight", "wte.weight")
    shared = name.endswith("shared.weight")
    return not shared, not name.endswith(embeddings), part_of_one_side, len(name), name


def without_duplicates(weights):
    """The weights with one name each, and dropped name -> kept name. Different parts of one storage are all kept."""
    names_of = {}
    for name, tensor in weights.items():
        place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()) if tensor.numel() else name
        names_of.setdefault(place, []).append(name)
    dropped = {}
    for names in names_of.values():
        kept = min(names, key=preference)
        dropped.update({name: kept for name in names if name != kept})
    return {name: tensor for name, tensor in weights.items() if name not in dropped}, dropped


def write_tensor(file, tensor):
    tensor = tensor.detach().contiguous()
    size = tensor.numel() * tensor.element_size()
    if size == 0:
        return
    data = memoryview((ctypes.c_char * size).from_address(tensor.data_ptr())).cast("B")
    for begin in range(0, size, 64 * MIB):
        file.write(data[begin:begin + 64 * MIB])


def write_safetensors(path, weights, dropped):
    """One file, durable when this returns. Its size without the header is returned."""
    order = sorted(weights, key=lambda name: (RANKS[weights[name].dtype], name))
    header, offset = {"__metadata__": {"format": "pt", **dropped}}, 0
    for name in order:
        tensor = weights[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            write_tensor(file, weights[name])
        sync(file)
    return offset


def write_index(path, weight_map, total_size):
    with open(path, "w", encoding="utf-8") as file:
        index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
        json.dump(index, file, indent=2)
        file.write("\n")
        sync(file)


def sync(file):
    file.flush()
    os.fsync(file.fileno())


def new_name(old):
    """pytorch_model-00001-of-00002.bin -> model-00001-of-00002.safetensors"""
    return old.removeprefix("pytorch_").removesuffix(".bin") + ".safetensors"


def read_index(path):
    """shard file -> names of its tensors."""
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        shards = {}
        for name, shard in weight_map.items():
            shards.setdefault(shard, set()).add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"{path}: not an index with a 'weight_map' of file names ({reason_of(error)}); download it "
                      "again") from error
    for shard in shards:
        if not isinstance(shard, str) or pathlib.PurePath(shard).name != shard or not shard.endswith(".bin"):
            raise Refusal(f"{path}: weight_map: the shard '{shard}' is not the name of a .bin file in the folder")
        if not (path.parent / shard).exists():
            raise Refusal(f"{path}: the shard '{shard}' is missing; download the folder again")
    if not shards:
        raise Refusal(f"{path}: weight_map is empty; download it again")
    return dict(sorted(shards.items()))


class Conversion:
    """New files under temporary names, until all are complete."""

    def __init__(self, folder):
        self.folder = folder
        self.temporary = {}  # final path -> where it is written

    def place(self, name):
        final = self.folder / name
        self.temporary[final] = final.with_name(final.name + ".tmp")
        return self.temporary[final]

    def convert(self, old, new, listed=None):
        """Converts one file; returns the names kept and their size in bytes."""
        weights = load(self.folder / old)
        if listed is not None and listed != set(weights):
            wrong = sorted(listed ^ set(weights))[0]
            where = "lists it, but the shard lacks it" if wrong in listed else "does not list it in this shard"
            raise Refusal(f"{self.folder / old}: tensor '{wrong}': the index {where}; download the folder again")
        weights, dropped = without_duplicates(weights)
        size = write_safetensors(self.place(new), weights, dropped)
        print(f"{old} -> {new}: {len(weights)} tensors, {size:,} bytes", flush=True)
        for name, kept in sorted(dropped.items()):
            print(f"  {name} is the same tensor as {kept} and written once")
        return list(weights), size

    def commit(self):
        """In the order of writing, so the index, which makes shards count, comes last."""
        for final, temporary in self.temporary.items():
            os.replace(temporary, final)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self):
        for temporary in self.temporary.values():
            temporary.unlink(missing_ok=True)


def check_targets(folder, targets, force):
    existing = [name for name in targets if (folder / name).exists()]
    if existing and not force:
        raise Refusal(f"{folder / existing[0]} exists already; --force replaces it")
    if NEW_SINGLE not in targets and (folder / NEW_SINGLE).exists():
        raise Refusal(f"{folder / NEW_SINGLE} would be read instead of the converted shards; move it away first")


def convert_folder(folder, force):
    if not folder.is_dir():
        raise Refusal(f"{folder}: is not a folder that exists; expected a Hugging Face model folder")
    conversion = Conversion(folder)
    try:
        if (folder / SINGLE).exists():  # where a folder holds both forms the single file wins, as in transformers
            check_targets(folder, [NEW_SINGLE], force)
            conversion.convert(SINGLE, NEW_SINGLE)
        elif (folder / INDEX).exists():
            shards = read_index(folder / INDEX)
            check_targets(folder, [new_name(shard) for shard in shards] + [NEW_INDEX], force)
            weight_map, total_size = {}, 0
            for shard, listed in shards.items():
                names, size = conversion.convert(shard, new_name(shard), listed)
                weight_map.update(dict.fromkeys(names, new_name(shard)))
                total_size += size
            write_index(conversion.place(NEW_INDEX), weight_map, total_size)
        else:
            raise Refusal(f"{folder}: holds neither {SINGLE} nor {INDEX}: there is nothing to convert")
        conversion.commit()
    except BaseException:
        conversion.discard()
        raise
    print(f"{folder}: converted; the .bin files are not needed any more")


def main():
    parser = argparse.ArgumentParser(description="Turns pickled weights (pytorch_model*.bin) into safetensors.")
    parser.add_argument("folder", type=pathlib.Path, help="a Hugging Face model folder")
    parser.add_argument("--force", action="store_true", help="replace safetensors files that are there already")
    arguments = parser.parse_args()
    try:
        convert_folder(arguments.folder, arguments.force)
    except Refusal as refusal:
        print(f"convert_bin: {refusal}", file=sys.stderr)
        return 65
    except OSError as error:
        print(f"convert_bin: {error.filename or arguments.folder}: {error.strerror}", file=sys.stderr)
        return 74
    return 0


if __name__ == "__main__":
    sys.exit(main())
