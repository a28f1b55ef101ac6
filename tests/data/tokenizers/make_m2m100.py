#!/usr/bin/env python3
"""Makes m2m100.json beside this file: what transformers' M2M100Tokenizer makes of texts, in folders of several layouts.

    python make_m2m100.py MGSM_FOLDER        # pip install transformers==5.23.0 sentencepiece==0.2.3 protobuf

Unigram layouts use the SentencePiece model of tests/data/golden/models/xlmr; m2m100/bpe.model, without normalisation rules
and with spaces as they are, is trained here on some questions of MGSM (CC-BY 4.0, github google-research/url-nlp). The
vocabularies are lists in the order of the ids: a test writes them as vocab.json.
"""
import io
import json
import pathlib
import random
import shutil
import sys
import tempfile

import sentencepiece
import transformers
from make_tokenizers import TEXTS, corpus

HERE = pathlib.Path(__file__).resolve().parent
MODELS = {"unigram": HERE.parent / "golden/models/xlmr/sentencepiece.bpe.model", "bpe": HERE / "m2m100/bpe.model"}
WMT21 = ["en", "ha", "is", "ja", "cs", "ru", "zh", "de"]
M2M100 = list(transformers.models.m2m_100.tokenization_m2m_100.FAIRSEQ_LANGUAGE_CODES["m2m100"])
OWN_TEXTS = ["__en__ Hello __de__", "a__sw__b __xx__ __en_ ___en__", "<new> x<new>y", "x  <end>  y </s>z", "<oov> <unk>",
             "<wide>  a <wide>b", "abc  def", " a", "▁▁a ▁", "xyzzy漢xyzzy", "ｶﾞ ｶﾞ", "aaaaaaa aaaa"]
LANGUAGES = {"unknown": None, "English": "en", "Thai": "th", "German": "de", "Swahili": "sw", "Chinese": "zh"}


def train_bpe(folder):
    model = io.BytesIO()  # not a model_prefix: the file would tell where it was made
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(folder, ["en", "sw", "de", "th"]), model_writer=model, model_type="bpe", vocab_size=500,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1, eos_id=2,
        pad_id=-1, minloglevel=2)
    MODELS["bpe"].parent.mkdir(exist_ok=True)
    MODELS["bpe"].write_bytes(model.getvalue())


def vocabulary(model, first=("<s>", "<pad>", "</s>", "<unk>"), last=()):
    """Not all pieces, not in their order, and texts that are no pieces."""
    pieces = sentencepiece.SentencePieceProcessor(str(model))
    texts = [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    draw = random.Random(1)
    draw.shuffle(texts)
    return [*first, *texts[len(texts) // 50:], "漢字", "▁漢", "ガ", *last]


def tokens(codes):
    return [f"__{code}__" for code in codes]


def named(**changes):
    names = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return names | changes


def layouts():
    config = {"tokenizer_class": "M2M100Tokenizer"}
    hub = config | named(src_lang=None, tgt_lang=None, model_max_length=1024, num_madeup_words=8, tokenizer_file=None)
    yield "hub", "unigram", vocabulary(MODELS["unigram"]), {
        "tokenizer_config.json": hub,
        "special_tokens_map.json": named(additional_special_tokens=tokens(M2M100))}
    yield "bare", "unigram", vocabulary(MODELS["unigram"]), {"config.json": {"model_type": "m2m_100"}}
    yield "wmt21", "bpe", vocabulary(MODELS["bpe"]), {
        "tokenizer_config.json": config | {"language_codes": "wmt21", "src_lang": "de", "sp_model_kwargs": {},
                                           "extra_special_tokens": tokens(WMT21) + ["<new>"]}}
    own = named(bos_token=None, unk_token="<oov>", eos_token={"content": "<end>", "lstrip": True, "rstrip": False})
    yield "own tokens", "bpe", vocabulary(MODELS["bpe"], last=("<oov>", "<end>", "<wide>")), {
        "tokenizer_config.json": config | {"src_lang": "sw"}, "special_tokens_map.json": own}
    size = len(vocabulary(MODELS["unigram"], last=("<wide>",)))
    declared = {str(size + i): {"content": token, "special": True} for i, token in enumerate(tokens(M2M100))}
    wide = {"content": "<wide>", "lstrip": True, "rstrip": True, "normalized": True, "special": False}
    declared |= {str(size - 1): wide, str(size + 100): {"content": "<new>", "normalized": True, "special": False}}
    yield "declared", "unigram", vocabulary(MODELS["unigram"], last=("<wide>",)), {
        "tokenizer_config.json": config | {"added_tokens_decoder": declared, "additional_special_tokens": tokens(M2M100)}}


def write_folder(folder, model, texts, files):
    folder.mkdir()
    shutil.copy(MODELS[model], folder / "sentencepiece.bpe.model")
    files = files | {"vocab.json": {text: i for i, text in enumerate(texts)}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def framed(tokenizer, language):
    if language:
        tokenizer.src_lang = language
    return tokenizer("two apples").input_ids


def answers(folder, texts):
    load = transformers.AutoTokenizer.from_pretrained
    tokenizer = load(folder)
    assert type(tokenizer) is transformers.M2M100Tokenizer
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    languages = {name: code for name, code in LANGUAGES.items() if code is None or code in tokenizer.lang_code_to_id}
    cut = [i for row in ids for i in row][::7] + [tokenizer.lang_code_to_id["de"], 0, 1]
    size = max(*tokenizer.lang_token_to_id.values(), *tokenizer.added_tokens_decoder) + 1
    return {"size": size, "eos": tokenizer.eos_token_id, "ids": ids,
            "framed": {name: framed(load(folder), code) for name, code in languages.items()},
            "decoded": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
            "cut": cut, "decoded_cut": tokenizer.decode(cut, skip_special_tokens=True)}


def main():
    mgsm = pathlib.Path(sys.argv[1])
    train_bpe(mgsm)
    texts = TEXTS + OWN_TEXTS + list(corpus(mgsm))[::23]
    rows = {}
    with tempfile.TemporaryDirectory() as root:
        for name, model, words, files in layouts():
            folder = pathlib.Path(root) / name
            write_folder(folder, model, words, files)
            rows[name] = {"model": str(MODELS[model].relative_to(HERE.parent)), "vocabulary": words, "files": files}
            rows[name] |= answers(folder, texts)
    made_by = f"transformers {transformers.__version__}, sentencepiece {sentencepiece.__version__}"
    content = {"made_by": made_by, "texts": texts, "layouts": rows}
    (HERE / "m2m100.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
