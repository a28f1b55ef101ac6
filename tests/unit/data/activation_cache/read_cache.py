"""Reads an activation cache by data/activation_cache/FORMAT.md alone, with h5py.

read_cache.py FOLDER OUT writes for every text OUT/KEY.ids (uint32) and OUT/KEY.states (float32 [P, S, De]).
"""

import json
import pathlib
import sys

import h5py
import numpy as np

FORM = ["encoder_weights", "encoder_config", "compute_precision", "dtype", "layers", "width", "tokenizer"]


def value_of(attribute):
    """An attribute as JSON has it."""
    if isinstance(attribute, (bytes, np.bytes_)):
        return attribute.decode()
    return attribute.tolist()


def e4m3(codes):
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    size = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent.astype(float) - 10))
    return np.where(codes & 128, -size, size)


def numbers_of(rows, dtype, width):
    """uint8 [..., R] -> float32 [..., De]."""
    if dtype == "float32":
        return rows.view("<f4")
    if dtype == "bfloat16":
        return (rows.view("<u2").astype("<u4") << 16).view("<f4")
    scales = 2.0 ** (rows[..., width:].astype(float) - 127)
    return (e4m3(rows[..., :width]) * np.repeat(scales, 32, axis=-1)[..., :width]).astype("<f4")


def read_shard(path, manifest, form, out):
    assert path.stat().st_size == manifest["file_bytes"]
    with h5py.File(path, "r") as file:
        assert file.attrs["format"].decode() == manifest["format"] == "layalign activation cache shard"
        assert file.attrs["version"] == manifest["version"] == 1
        assert {name: value_of(file.attrs[name]) for name in FORM} == {name: form[name] for name in FORM}
        assert len(file.attrs) == 2 + len(FORM)
        assert set(file) == {"keys", "token_offsets", "token_ids", "hashes", "states"}
        keys, offsets, ids = file["keys"][:], file["token_offsets"][:].astype(int), file["token_ids"][:]
        planes, width = len(form["layers"]), form["width"]
        types = {"float32": "<f4", "bfloat16": "<u2", "float8": "u1"}
        assert keys.dtype == "<u8" and ids.dtype == "<u4" and file["states"].dtype == types[form["dtype"]]
        assert file["hashes"].shape == (manifest["texts"], planes) and len(ids) == manifest["tokens"]
        states = file["states"][:].view("u1")
        begin = file["states"].id.get_offset()
        assert begin == manifest["front_bytes"] and begin % 4096 == 0 and begin + states.nbytes == manifest["file_bytes"]

    row_bytes = {"float32": 4 * width, "bfloat16": 2 * width, "float8": width + -(-width // 32)}[form["dtype"]]
    for i in range(manifest["texts"]):
        name = "%016x%016x" % tuple(keys[i])
        block = states[offsets[i] * planes * row_bytes : offsets[i + 1] * planes * row_bytes]
        rows = block.reshape(planes, offsets[i + 1] - offsets[i], row_bytes)
        (out / (name + ".ids")).write_bytes(ids[offsets[i] : offsets[i + 1]].tobytes())
        (out / (name + ".states")).write_bytes(numbers_of(rows, form["dtype"], width).tobytes())


def main(folder, out):
    form = json.loads((folder / "cache.json").read_text())
    assert form["format"] == "layalign activation cache" and form["version"] == 1
    for manifest in folder.glob("shard-*.json"):
        read_shard(manifest.with_suffix(".h5"), json.loads(manifest.read_text()), form, out)


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
