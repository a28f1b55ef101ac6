#!/usr/bin/env python3
"""The reader of safetensors headers beside the reference: the same verdict on every file?

    tests/fuzz/run.sh 0                                                 # builds out/fuzz/safetensors_verdicts
    python -m venv venv && venv/bin/pip install safetensors==0.8.0
    venv/bin/python tests/fuzz/safetensors_differential.py [--files 6000] [--seed 1]

Makes files, valid ones and ones with one or two things wrong, and has both readers judge each. Where both accept, tensors, dtypes,
shapes and bytes are compared too. Where only the reference accepts, the reason must be one of those by which ours is stricter
on purpose (checkpoints_tools/README.md); they are counted by name. Anything else is printed, and the exit code is 1.
"""
import argparse
import collections
import copy
import json
import pathlib
import random
import struct
import subprocess
import sys

from safetensors import SafetensorError, deserialize

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What the message says: why ours refuses what the reference accepts.
STRICTER = {
    "' twice": "a name, a field or a key of the metadata given twice",
    "is given twice": "a name, a field or a key of the metadata given twice",
    "unknown field": "a field other than dtype, shape and data_offsets",
    "as an array, expected an object": "a tensor given as an array",
    "'__metadata__' as null": "__metadata__ is null",
    "is not supported here": "a dtype that LibTorch does not compute with",
    "dimensions;": "more than 64 dimensions",
    "overflows 63 bits": "an empty tensor whose other dimensions overflow",
    " overflows;": "an empty tensor whose other dimensions overflow",
}

BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "F64": 64, "I64": 64, "U64": 64}
OTHER_DTYPES = {"F4": 4, "F6_E2M3": 6, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "C64": 64}
NUMBERS = [0, 1, 2, 3, 7, 8, 255, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, 1.0, 0.5, 1e3, "1", None, True, [], {}]
NAMES = ["a", "b", "weight", "", "é", "\u0000", "a\"b", "\\", "__metadata__x", "长", "a" * 300, "\ud83d\ude00"]


class Pairs(list):
    """An object as its pairs, so that keys may repeat."""


def text_of(value, rng):
    """JSON, with the white space that the format allows here and there."""
    space = rng.choice(["", "", "", " ", "\n", "\t", "\r\n"])
    if isinstance(value, Pairs):
        return "{" + space + ",".join(f"{json.dumps(k, ensure_ascii=rng.random() < 0.5)}:{space}{text_of(v, rng)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(space + text_of(item, rng) for item in value) + space + "]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def valid_header(rng):
    """Tensors that cover the data, in any order, and the number of data bytes."""
    header, at = Pairs(), 0
    for name in rng.sample(NAMES, rng.randrange(5)):
        dtype = rng.choice(list(BITS) + list(OTHER_DTYPES) * (rng.random() < 0.1))
        shape = [rng.choice([0, 1, 1, 2, 3, 4, 8]) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 66 if rng.random() < 0.05 else 5]))]
        if rng.random() < 0.01:
            shape = rng.choice([[0, 2**62, 8], [2**63, 0], [2**32, 0, 2**32]])
        bits = (BITS | OTHER_DTYPES)[dtype]
        for dimension in shape:
            bits *= dimension
        if bits % 8 or bits > 80000:
            continue
        header.append((name, Pairs([("dtype", dtype), ("shape", shape), ("data_offsets", [at, at + bits // 8])])))
        at += bits // 8
    rng.shuffle(header)
    if rng.random() < 0.5:
        pairs = Pairs((rng.choice(NAMES) + str(i), rng.choice(NAMES)) for i in range(rng.randrange(3)))
        header.insert(rng.randrange(len(header) + 1), ("__metadata__", pairs))
    return header, at


def somewhere(header, rng):
    """A random container in the header, all the way down, with a place in it."""
    containers, open_ = [], [header]
    while open_:
        container = open_.pop()
        if container:
            containers.append(container)
        for item in container:
            value = item[1] if isinstance(container, Pairs) else item
            if isinstance(value, list):
                open_.append(value)
    container = rng.choice(containers)
    return container, rng.randrange(len(container))


def put(container, place, value):
    """Puts a copy, so that no container gets into itself or into the next file."""
    value = copy.deepcopy(value)
    container[place] = (container[place][0], value) if isinstance(container, Pairs) else value


def spoil_value(header, rng):
    container, place = somewhere(header, rng)
    put(container, place, rng.choice(NUMBERS + ["F32", "F4", "f32", [0, 1], [4, 0], Pairs()]))


def spoil_number(header, rng):
    container, place = somewhere(header, rng)
    value = container[place][1] if isinstance(container, Pairs) else container[place]
    if isinstance(value, int) and not isinstance(value, bool):
        put(container, place, value + rng.choice([-1, 1, 4, 2**32, 2**63]))


def spoil_key(header, rng):
    container, place = somewhere(header, rng)
    if isinstance(container, Pairs):
        container[place] = (rng.choice(NAMES + ["dtype", "shape", "data_offsets", "strides", "__metadata__"]), container[place][1])


def remove(header, rng):
    container, place = somewhere(header, rng)
    del container[place]


def repeat(header, rng):
    container, place = somewhere(header, rng)
    container.insert(rng.randrange(len(container) + 1), copy.deepcopy(container[place]))


def swap(header, rng):
    one, place_one = somewhere(header, rng)
    other, place_other = somewhere(header, rng)
    if isinstance(one, Pairs) and isinstance(other, Pairs):
        values = copy.deepcopy((one[place_one][1], other[place_other][1]))
        put(one, place_one, values[1])
        put(other, place_other, values[0])


def as_array(header, rng):
    container, place = somewhere(header, rng)
    if isinstance(container, Pairs) and isinstance(container[place][1], Pairs):
        put(container, place, [value for _, value in container[place][1]])


def overflow(header, rng):
    container, place = somewhere(header, rng)
    put(container, place, rng.choice([[0, 2**62, 8], [2**62, 4], [2**32, 2**32], [0, 2**64 - 1], [2**63, 0], [2**31, 2**31, 2]]))


def many_dimensions(header, rng):
    container, place = somewhere(header, rng)
    put(container, place, [1] * rng.choice([63, 64, 65, 200]))


SPOILERS = [spoil_value, spoil_value, spoil_number, spoil_number, spoil_key, remove, repeat, swap, as_array, overflow, many_dimensions]


def spoil_text(text, rng):
    place = rng.randrange(len(text) + 1)
    change = rng.randrange(5)
    if change == 0:
        return text[:place] + text[place + 1 :]
    if change == 1:
        return text[:place] + bytes([rng.randrange(256)]) + text[place + 1 :]
    if change == 2:
        return text[:place] + rng.choice([b"\0", b"\xff", b"\xef\xbb\xbf", b"//", b",", b"}", b" ", b"\x7f", b"\\ud800", b"1e5", b"-0", b"01"]) + text[place:]
    return rng.choice([b" ", b"\n", b"\xef\xbb\xbf", b""]) + text + rng.choice([b" ", b"\0", b"{}", b"x", b"   \n", b""])


def make_file(rng):
    header, data_bytes = valid_header(rng)
    for _ in range(rng.choice([0, 0, 1, 1, 1, 1, 2])):
        if header:
            rng.choice(SPOILERS)(header, rng)
    text = text_of(header, rng).encode(errors="surrogatepass")
    if rng.random() < 0.15:
        text = spoil_text(text, rng)
    if rng.random() < 0.3:
        text += b" " * (-len(text) % 8)
    length = len(text)
    if rng.random() < 0.05:
        length = rng.choice([0, 1, length - 1, length + 1, 100_000_000, 100_000_001, 2**63, 2**64 - 8, 2**64 - 1]) % 2**64
    if rng.random() < 0.05:
        data_bytes = max(0, data_bytes + rng.choice([-8, -1, 1, 8]))
    whole = struct.pack("<Q", length) + text + bytes(rng.randrange(2) for _ in range(data_bytes))
    return whole[: rng.randrange(len(whole) + 1)] if rng.random() < 0.02 else whole


def reference_verdict(whole):
    """("ok", tensors) or ("refused", why)."""
    try:
        tensors = deserialize(whole)
    except SafetensorError as error:
        return "refused", str(error)
    return "ok", sorted((len(name.encode()), tensor["dtype"], tuple(tensor["shape"]), len(tensor["data"])) for name, tensor in tensors)


def our_verdicts(files, program):
    stream = b"".join(struct.pack("<Q", len(whole)) + whole for whole in files)
    lines = subprocess.run([program], input=stream, stdout=subprocess.PIPE, check=True).stdout.decode(errors="replace").split("\n")
    assert len(lines) == len(files) + 1, f"{program} judged {len(lines) - 1} of {len(files)} files"
    for line in lines[:-1]:
        verdict, _, rest = line.partition(" ")
        if verdict == "refused":
            yield verdict, rest
            continue
        words = rest.split()
        yield "ok", sorted((int(name), dtype, tuple(int(d) for d in shape[1:-1].split(",") if d), int(end) - int(begin))
                           for name, dtype, shape, begin, end in zip(*[iter(words)] * 5))


def repeats_a_key(whole):
    repeated = False

    def look(pairs):
        nonlocal repeated
        repeated |= len(dict(pairs)) < len(pairs)

    json.loads(whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]], object_pairs_hook=look)
    return repeated


def stricter_by(whole, message):
    """Why ours refuses what the reference accepts, by name; None: for no known reason."""
    # What stands under a repeated key may be wrong: the reference sees the last one only.
    if repeats_a_key(whole):
        return STRICTER["' twice"]
    return next((name for words, name in STRICTER.items() if words in message), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", default=ROOT / "out/fuzz/safetensors_verdicts")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    files = [make_file(rng) for _ in range(arguments.files)]
    both, stricter, wrong = collections.Counter(), collections.Counter(), []
    for whole, ours in zip(files, our_verdicts(files, arguments.program)):
        reference = reference_verdict(whole)
        if ours[0] == reference[0] == "refused":
            both["refuse"] += 1
        elif ours == reference:
            both["accept"] += 1
        elif reference[0] == "ok" and ours[0] == "refused" and (name := stricter_by(whole, ours[1])):
            stricter[name] += 1
        else:
            wrong.append((whole, ours, reference))
    print(f"{len(files)} files: both accept {both['accept']}, both refuse {both['refuse']}, stricter on purpose {stricter.total()}, other {len(wrong)}")
    for name, count in sorted(stricter.items()):
        print(f"  {count:5} {name}")
    for whole, ours, reference in wrong[:20]:
        print(f"\n{whole[:400]!r}\n  ours: {ours}\n  reference: {reference}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
