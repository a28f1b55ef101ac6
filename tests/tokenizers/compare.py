#!/usr/bin/env python3
"""Our ids and texts against PyPI tokenizers and transformers, on many lines of mixed text. Not part of the ctest run.

    cmake --build build --target encode_lines
    python tests/tokenizers/compare.py --program build/tests/tokenizers/encode_lines --mgsm FOLDER --msvamp FOLDER
    pip install transformers==5.23.0 tokenizers sentencepiece protobuf

Every form that can be read gets the lines: the folders of tests/data/tokenizers, SentencePiece models (those of
tests/data/golden/models; a BPE model for NLLB and M2M100), XLM-R saved as tokenizer.json with its normalisation rules, and random
pipelines of normalizers and pre-tokenizers. Lines: MGSM, MSVAMP, and generated ones: characters of many blocks of
Unicode, white space, special tokens, mixtures and cuts of the real lines. Prints the mismatches of each form; fails if there
is one.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import types
import unicodedata

import sentencepiece
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
MODELS = DATA / "golden" / "models"
MARKS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>", "<|im_start|>", "<|eot_id|>", "[SEP]", "eng_Latn", "__sw__", "▁", "▁▁",
         "<0x0A>", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", "\u200d", "\ufeff", "\x00", "don't", "I'LL",
         "believable", "123456", "١٢٣", "e\u0301", "ﬁ", "①", "İ", "Σ", "ẞ"]


def characters():
    blocks = [(0x20, 0x7F), (0xA0, 0x250), (0x250, 0x530), (0x530, 0x860), (0x900, 0x1000), (0x1000, 0x1800), (0x1E00, 0x2000),
              (0x2000, 0x2C00), (0x2C00, 0x3100), (0x3100, 0x4DC0), (0x4E00, 0x4F00), (0xA000, 0xABFF), (0xAC00, 0xAD00),
              (0xF900, 0xFFFE), (0x10000, 0x10900), (0x1D400, 0x1D7FF), (0x1F000, 0x1FA00), (0x20000, 0x20100), (0xE000, 0xE010)]
    # Unassigned ones get properties in different libraries at different times.
    return [[chr(c) for c in range(*block) if unicodedata.category(chr(c)) not in ("Cn", "Cs")] for block in blocks]


def real_lines(mgsm, msvamp):
    for file in sorted(mgsm.glob("*.tsv")):
        yield from (line.split("\t")[0] for line in file.read_text(encoding="utf-8").splitlines())
    for file in sorted(msvamp.glob("*.jsonl")):
        rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        yield from (text for row in rows for text in (row["m_query"], row["response"]))


def mixed_lines(count, mgsm, msvamp, seed):
    draw = random.Random(seed)
    real = list(dict.fromkeys(real_lines(mgsm, msvamp)))
    draw.shuffle(real)
    lines, blocks = real[:count // 2], characters()
    while len(lines) < count:
        parts = []
        for _ in range(draw.randint(1, 6)):
            kind = draw.random()
            if kind < 0.35:
                block = draw.choice(blocks)
                parts.append("".join(draw.choices(block, k=draw.randint(1, 8))))
            elif kind < 0.6:
                parts.append(draw.choice(MARKS))
            else:
                line = draw.choice(real)
                begin = draw.randrange(len(line) + 1)
                parts.append(line[begin:begin + draw.randint(1, 30)])
        lines.append("".join(parts))
    return lines


class Form:
    """A folder for our program, and the tokenizer that says what is right."""

    def __init__(self, name, folder, backend, language="unknown"):
        self.name, self.folder, self.backend, self.language = name, folder, backend, language


def sentencepiece_folder(root, name, model, config, file, extra=None):
    folder = root / name
    folder.mkdir()
    shutil.copy(model, folder / file)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if extra:
        (folder / "special_tokens_map.json").write_text(json.dumps(extra))
    return folder


def sentencepiece_forms(root, corpus):
    t5 = sentencepiece_folder(root, "t5", MODELS / "mt5" / "spiece.model", {"tokenizer_class": "T5Tokenizer"}, "spiece.model")
    yield Form("T5", t5, transformers.AutoTokenizer.from_pretrained(t5)._tokenizer)
    config = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "eos_token": "</s>"}
    llama = sentencepiece_folder(root, "llama", MODELS / "llama" / "tokenizer.model", config, "tokenizer.model")
    yield Form("Llama", llama, transformers.AutoTokenizer.from_pretrained(llama)._tokenizer)
    fairseq = MODELS / "xlmr" / "sentencepiece.bpe.model"
    xlmr = sentencepiece_folder(root, "xlmr", fairseq, {"tokenizer_class": "XLMRobertaTokenizer"}, fairseq.name)
    reference = transformers.AutoTokenizer.from_pretrained(xlmr)
    yield Form("XLM-R", xlmr, reference._tokenizer)
    saved = root / "xlmr-json"
    reference.save_pretrained(saved)
    yield Form("XLM-R, tokenizer.json", saved, Tokenizer.from_file(str(saved / "tokenizer.json")))
    yield xglm_form(root, fairseq)
    nllb = nllb_form(root, corpus)
    yield nllb
    yield m2m100_form(root, "M2M100, Unigram", fairseq)
    yield m2m100_form(root, "M2M100, BPE", nllb.folder / fairseq.name)


class SlowBackend:
    """A tokenizer without one of PyPI tokenizers behind it, asked as if it had."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def encode_batch(self, lines, add_special_tokens):
        rows = (self.tokenizer(line, add_special_tokens=add_special_tokens).input_ids for line in lines)
        return [types.SimpleNamespace(ids=row) for row in rows]

    def decode_batch(self, rows, skip_special_tokens):
        return [self.tokenizer.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]

    def get_vocab_size(self):
        return max(self.tokenizer.id_to_lang_token) + 1


def m2m100_form(root, name, model):
    """Its ids are those of vocab.json, which has not all pieces, and others; its cuts are SentencePiece's own."""
    pieces = sentencepiece.SentencePieceProcessor(str(model))
    ids = range(pieces.get_piece_size())
    texts = [pieces.id_to_piece(i) for i in ids if not pieces.is_control(i) and not pieces.is_unknown(i)]
    random.Random(1).shuffle(texts)
    texts = ["<s>", "<pad>", "</s>", "<unk>", *texts[20:], "😀", "▁😀"]
    codes = [f"__{code}__" for code in transformers.models.m2m_100.tokenization_m2m_100.FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    config = {"tokenizer_class": "M2M100Tokenizer", "src_lang": "en"}
    folder = sentencepiece_folder(root, name, model, config, "sentencepiece.bpe.model", {"additional_special_tokens": codes})
    (folder / "vocab.json").write_text(json.dumps({text: i for i, text in enumerate(texts)}))
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    reference.src_lang = "th"
    return Form(name, folder, SlowBackend(reference), "Thai")


def xglm_form(root, fairseq):
    folder = sentencepiece_folder(root, "xglm", fairseq, {"tokenizer_class": "XGLMTokenizer"}, fairseq.name)
    from sentencepiece import sentencepiece_model_pb2 as proto
    model = proto.ModelProto()
    model.ParseFromString(fairseq.read_bytes())
    vocabulary = [(text, 0.0) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += [(piece.piece, piece.score) for piece in model.pieces[3:]]
    vocabulary += [(f"<madeupword{i}>", 0.0) for i in range(7)]
    rules = model.normalizer_spec.precompiled_charsmap
    reference = transformers.XGLMTokenizer(vocab=vocabulary, _spm_precompiled_charsmap=rules)
    return Form("XGLM", folder, reference._tokenizer)


def nllb_form(root, corpus):
    """NLLB's own model is a BPE one."""
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_prefix=str(root / "bpe"), model_type="bpe",
                                             vocab_size=2000, character_coverage=0.98, minloglevel=2, unk_id=0, bos_id=1,
                                             eos_id=2, pad_id=-1, hard_vocab_limit=False)
    codes = ["eng_Latn", "swh_Latn", "tha_Thai"]
    config = {"tokenizer_class": "NllbTokenizer", "src_lang": "eng_Latn", "extra_special_tokens": codes}
    folder = sentencepiece_folder(root, "nllb", root / "bpe.model", config, "sentencepiece.bpe.model")
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    reference.src_lang = "tha_Thai"
    return Form("NLLB", folder, reference._tokenizer, "Thai")


def random_pattern(draw):
    return draw.choice([" ", "e", "は", Regex(r"\d+"), Regex(r"\p{Lu}"), Regex(r"\s+(?=\S)"), Regex("[aeiou]+"), Regex(r"\w+|[^\w\s]+"),
                        Regex(" {2,}"), Regex("(?i)the|x*")])


def random_pipeline(draw, corpus):
    make_normalizers = [normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD, normalizers.Lowercase,
                        normalizers.StripAccents, lambda: normalizers.Strip(draw.random() < 0.5, draw.random() < 0.5),
                        lambda: normalizers.Replace(random_pattern(draw), draw.choice(["", " ", "_", "xy"])),
                        lambda: normalizers.Prepend("▁"), lambda: normalizers.BertNormalizer(lowercase=draw.random() < 0.5)]
    behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    make_words = [lambda: pre_tokenizers.Split(random_pattern(draw), draw.choice(behaviors), invert=draw.random() < 0.3),
                  lambda: pre_tokenizers.Digits(draw.random() < 0.5), pre_tokenizers.Whitespace, pre_tokenizers.WhitespaceSplit,
                  lambda: pre_tokenizers.Punctuation(draw.choice(behaviors)), pre_tokenizers.BertPreTokenizer,
                  lambda: pre_tokenizers.Metaspace(prepend_scheme=draw.choice(["always", "first", "never"]),
                                                   split=draw.random() < 0.5)]
    byte_level = draw.random() < 0.5
    tokenizer = Tokenizer(models.BPE(**({} if byte_level else {"unk_token": "<unk>", "fuse_unk": draw.random() < 0.5})))
    tokenizer.normalizer = normalizers.Sequence([draw.choice(make_normalizers)() for _ in range(draw.randint(0, 3))])
    words = [draw.choice(make_words)() for _ in range(draw.randint(0, 3))]
    if byte_level:
        words.append(pre_tokenizers.ByteLevel(add_prefix_space=draw.random() < 0.5, use_regex=draw.random() < 0.5))
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=1000, special_tokens=["<unk>", "</s>"], limit_alphabet=400,
                                                              initial_alphabet=alphabet, show_progress=False, max_token_length=12))
    return tokenizer


def json_forms(root, corpus, pipelines, seed):
    for folder in sorted(path.parent for path in (DATA / "tokenizers").glob("*/tokenizer.json")):
        yield Form(folder.name, folder, Tokenizer.from_file(str(folder / "tokenizer.json")))
    draw = random.Random(seed)
    for i in range(pipelines):
        tokenizer = random_pipeline(draw, corpus)
        folder = root / f"pipeline-{i}"
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
        yield Form(f"pipeline {i}", folder, tokenizer)


def ask(program, form, questions):
    rows = "".join(json.dumps(question) + "\n" for question in questions)
    run = subprocess.run([program, form.folder, form.language], input=rows, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{form.name}: {run.stderr}")
    return [json.loads(line) for line in run.stdout.rstrip("\n").split("\n")]


def compare(program, form, lines, draw):
    bare = [row.ids for row in form.backend.encode_batch(lines, add_special_tokens=False)]
    framed = [row.ids for row in form.backend.encode_batch(lines, add_special_tokens=True)]
    # What a text gives, and what an untrained model may generate: any ids.
    size = form.backend.get_vocab_size()
    generated = [row if draw.random() < 0.5 else draw.choices(range(size), k=draw.randint(1, 20)) for row in bare]
    texts = form.backend.decode_batch(generated, skip_special_tokens=True)
    answers = ask(program, form, [{"text": line} for line in lines] + [{"ids": ids} for ids in generated])
    wrong = []
    for line, ids, whole, answer in zip(lines, bare, framed, answers):
        if answer["ids"] != ids or answer["framed"] != whole:
            wrong.append((line, ids, answer["ids"], whole[:1], answer["framed"][:1]))
    for ids, text, answer in zip(generated, texts, answers[len(lines):]):
        if answer["decoded"] != text:
            wrong.append((ids, text, answer["decoded"]))
    print(f"{form.name:24} {len(lines)} texts, {len(generated)} id lists: {len(wrong)} mismatches", flush=True)
    for row in wrong[:3]:
        print("   ", *(ascii(part)[:300] for part in row), sep="\n      ")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--mgsm", type=pathlib.Path, required=True)
    parser.add_argument("--msvamp", type=pathlib.Path, required=True)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--pipelines", type=int, default=20, help="random pipelines, each with a tenth of the lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="forms whose name begins so")
    options = parser.parse_args()
    lines = mixed_lines(options.lines, options.mgsm, options.msvamp, options.seed)
    corpus = [line for line in real_lines(options.mgsm, options.msvamp)][::20]
    draw = random.Random(options.seed)
    mismatches = 0
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for forms in (json_forms(root, corpus, options.pipelines, options.seed), sentencepiece_forms(root, corpus)):
            for form in forms:
                if form.name.startswith(options.only):
                    share = lines[::10] if form.name.startswith("pipeline") else lines
                    mismatches += compare(options.program, form, share, draw)
    sys.exit(1 if mismatches else 0)


if __name__ == "__main__":
    main()
