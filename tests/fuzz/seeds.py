#!/usr/bin/env python3
"""First inputs of the fuzz targets, made of the small data in tests/data.   seeds.py FOLDER

Writes FOLDER/TARGET/*. What is long in the data is shortened, for a fuzzer gets further with small inputs. The first byte of some
inputs is a choice, and NUL bytes part files: the targets say so. A target's inputs come from the function of its name.
"""
import json
import pathlib
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
KEPT = 40  # entries of a vocabulary, tensors of a header


def safetensors_header():
    for path in sorted(DATA.glob("golden/models/*/model*.safetensors"))[:8]:
        whole = path.read_bytes()
        header = json.loads(whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]])
        tensors = sorted((entry["data_offsets"], name) for name, entry in header.items() if name != "__metadata__")
        kept = {name: header[name] for offsets, name in tensors if offsets[1] <= 1024}
        kept["__metadata__"] = {"format": "pt"}
        yield file_of(kept, max([end for (_, end), name in tensors if name in kept], default=0))
    tiny = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "b": {"dtype": "F32", "shape": [0, 3], "data_offsets": [1, 1]}}
    yield file_of(tiny, 1)
    yield file_of({}, 0)


def file_of(header, data_bytes):
    """A safetensors file."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data_bytes)


def strict_json():
    for path in sorted(DATA.glob("golden/models/*/*.json")):
        yield path.read_bytes()
    yield br'[0, -1, 1.5e3, 18446744073709551615, "\u00e9\ud83d\ude00", true, null, {"a": {}}]'


def hf_config():
    for path in sorted(DATA.glob("golden/models/*/config.json")):
        yield path.read_bytes()


def yaml_config():
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        text = "".join(line for line in path.read_text().splitlines(True) if not line.startswith("base:"))
        yield text.encode()
        yield text.encode() + b"\0stages.0.lr=1.0e-4"
    yield b'{"model": {"encoder": "a", "llm": "b"}, "output": "c", "stages": [{"corpus": {"format": "jsonl", "path": "d"}}]}'


def shortened(tokenizer):
    model = tokenizer["model"]
    if isinstance(model["vocab"], list):
        model["vocab"] = model["vocab"][:KEPT]
    else:
        model["vocab"] = dict(sorted(model["vocab"].items(), key=lambda entry: entry[1])[:KEPT])
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges", [])]
        if "merges" in model:
            model["merges"] = [pair for pair in pairs if {*pair, "".join(pair)} <= set(model["vocab"])]
    return tokenizer


def tokenizer_json():
    for path in sorted(DATA.glob("tokenizers/*/tokenizer.json")):
        yield json.dumps(shortened(json.loads(path.read_text())), ensure_ascii=False).encode()


def tokenizer_settings():
    names = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"]
    for folder in sorted([*DATA.glob("golden/models/*"), *DATA.glob("tokenizers/*/")]):
        yield b"\0".join((folder / name).read_bytes() if (folder / name).exists() else b"" for name in names)
    token = {"content": "<x>", "lstrip": True, "special": True}
    config = {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": {"3": token}, "extra_ids": 2, "pad_token": token}
    maps = {"additional_special_tokens": ["<x>", token], "eos_token": "</s>"}
    yield b"\0".join(json.dumps(part).encode() for part in [config, maps, {"<y>": 400}, {"model_type": "t5"}])
    yield b"\0".join(json.dumps(part).encode() for part in [{"tokenizer_class": "NllbTokenizer"}, maps, {"<y>": 400}, {}])


def varint(value):
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def fields_of(message):
    """(number, bytes) of the length-delimited fields of a protobuf message that has no others."""
    at = 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        number = read() >> 3
        length = read()
        yield number, message[at : at + length]
        at += length


def with_few_rules(normalizer):
    """A normaliser with the begin of another's rules: trie and replacements (data/charsmap.h)."""
    rules = next(content for number, content in fields_of(normalizer) if number == 2)
    trie_bytes = struct.unpack("<I", rules[:4])[0]
    replacements = rules[4 + trie_bytes :][:200].decode(errors="ignore").encode()
    few = struct.pack("<I", 1024) + rules[4:1028] + replacements
    return b"\x12" + varint(len(few)) + few + b"\x18\x01"


def sentencepiece_model():
    models = ["golden/models/mt5/spiece.model", "golden/models/llama/tokenizer.model", "tokenizers/m2m100/bpe.model"]
    for model in models:
        kept, pieces = b"", 0
        for number, content in fields_of((DATA / model).read_bytes()):
            pieces += number == 1
            if number == 3 and len(content) > 20000:
                content = with_few_rules(content)
            if number != 1 or pieces <= KEPT:
                kept += varint(number << 3 | 2) + varint(len(content)) + content
        for form in range(6):
            yield bytes([form]) + kept


def tokenizer_text():
    lines = [line for path in sorted(DATA.glob("evaluation/mgsm/*.tsv")) for line in path.read_bytes().splitlines()[:1]]
    texts = [text.encode() for text in json.loads((DATA / "tokenizers/layouts.json").read_text())["texts"][:20]]
    for place in range(12):
        yield from (bytes([place]) + text for text in [*lines, *texts])


def data_lines():
    evaluation = DATA / "evaluation"
    question = {"lang": "Swahili", "query": "a", "response": "b"}
    nli = json.loads((evaluation / "xnli/test.json").read_text())[:2]
    row = {"source": "a", "target": "b", "prompt": None, "language": "Thai", "group": "g"}
    by_format = [
        "\n".join(json.dumps(r) for r in [row, {"source": "é", "target": "\n"}]).encode(),
        json.dumps([question, question]).encode(),
        json.dumps(nli, indent=1).encode(),
        b"moja\nmbili\r\n\0one\ntwo",
        b'{"source": [1, 99], "prompt": [2]}\n\n{"source": [5]}\n',
        (evaluation / "mgsm/mgsm_en.tsv").read_bytes(),
        (evaluation / "msvamp/test_English.jsonl").read_bytes(),
        (evaluation / "x-csqa/en/dev.jsonl").read_bytes(),
        json.dumps(nli).encode(),
    ]
    for place, content in enumerate(by_format):
        yield bytes([2 * place]) + content
        yield bytes([2 * place + 1]) + content


def manifests():
    entry = {"bytes": 8, "xxh3": "0" * 32}
    form = {"encoder_weights": "w", "encoder_config": "c", "compute_precision": "float32", "dtype": "bfloat16", "layers": [0, 2],
            "width": 16, "tokenizer": "t", "xxh3": "0" * 32, "format": "layalign activation cache", "version": 1}
    shard = {"file_bytes": 8192, "front_bytes": 4096, "front_xxh3": "0" * 32, "texts": 2, "tokens": 9,
             "format": "layalign activation cache shard", "version": 1}
    for place, content in enumerate([{"files": {"moments-00000-of-00001.safetensors": entry, "state.json": entry}}, form, shard]):
        yield bytes([place]) + json.dumps(content, indent=2).encode()


def main():
    folder = pathlib.Path(sys.argv[1])
    for target in pathlib.Path(__file__).with_name("targets.txt").read_text().split():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(globals()[target]()):
            (folder / target / f"seed-{number:03}").write_bytes(seed)


if __name__ == "__main__":
    main()
