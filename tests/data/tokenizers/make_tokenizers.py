#!/usr/bin/env python3
"""Makes the small tokenizer.json folders beside this file, and json_forms.json: what PyPI tokenizers makes of texts.

    python make_tokenizers.py MGSM_FOLDER        # pip install tokenizers==0.23.3

Each folder looks like one of the hub (the same components, regular expressions and added tokens), with a vocabulary
trained on some questions of MGSM (CC-BY 4.0, github google-research/url-nlp).
"""
import json
import pathlib
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
LANGUAGES = "en sw zh bn de es fr ja ru th te".split()
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEXTS = ["", " ", "  two  spaces ", "tab\tnewline\n\n end\r\n", "I'll've DON'T we'RE", "1234567 12.50 ٣٤٥ ①㎏ ⅷ", "e\u0301 é ﬁ Å Ω",
         "नमस्ते दुनिया", "ក្រុម ไทย ไทย", "emoji 😀👩\u200d👩\u200d👧 🇫🇷", "a\u00a0b\u3000c\u200bd\u2028e", "\x00\x01\x7f\x85", "İSTANBUL ẞ ΟΔΟΣ",
         "<|endoftext|> x<|im_start|>user<|im_end|>", "<|begin_of_text|>a<|eot_id|>", "<s>a</s> <mask> b", "[CLS] un-believable [SEP] [MASK]",
         "don't stop!!! ... (yes) \"no\"", "▁a ▁▁b", "café CAFÉ", "漢字かな交じり文 中文", "ｆｕｌｌ ＷＩＤＴＨ", "x" * 120, "\U0001f468\u200d\U0001f469 \u0301\u0301", "<0x41><0xE2>"]


def corpus(folder, languages=LANGUAGES):
    for code in languages:
        for line in (folder / f"mgsm_{code}.tsv").read_text(encoding="utf-8").splitlines()[:20]:
            yield line.split("\t")[0]


def special(*contents, **flags):
    return [AddedToken(content, special=True, normalized=False, **flags) for content in contents]


def byte_level_bpe(folder, pre_tokenizer, normalizer=None, size=500, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(corpus(folder), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet,
                                                                      show_progress=False))
    return tokenizer


def split(expression):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), byte_level])


def template(tokenizer, single, *names):
    return processors.TemplateProcessing(single=single, special_tokens=[(n, tokenizer.token_to_id(n)) for n in names])


def gpt2(folder):
    tokenizer = byte_level_bpe(folder, pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(special("<|endoftext|>"))
    return tokenizer, {"tokenizer_class": "GPT2Tokenizer"}


def roberta(folder):
    tokenizer = byte_level_bpe(folder, pre_tokenizers.ByteLevel(add_prefix_space=True))
    tokenizer.add_special_tokens(special("<s>", "</s>") + special("<mask>", lstrip=True))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 501), ("<s>", 500))
    return tokenizer, {"tokenizer_class": "RobertaTokenizer", "eos_token": "</s>"}


def llama3(folder):
    tokenizer = byte_level_bpe(folder, split(LLAMA3), ignore_merges=True)
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    begin = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                                    template(tokenizer, f"{begin} $A", begin)])
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end_of_text|>"}


def qwen(folder):
    tokenizer = byte_level_bpe(folder, split(QWEN), normalizers.NFC())
    tokenizer.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tokenizer.add_tokens([AddedToken("believable", single_word=True, normalized=True)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "eos_token": "<|im_end|>"}


def llama2(folder):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(corpus(folder), trainers.BpeTrainer(
        vocab_size=700, limit_alphabet=150, special_tokens=names, show_progress=False, max_token_length=8))
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = template(tokenizer, "<s> $A", "<s>")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    return tokenizer, {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}


def unigram(folder):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    few_characters = corpus(folder, ["en", "sw", "de", "fr", "ru"])  # all of them must be in the vocabulary
    tokenizer.train_from_iterator(few_characters, trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    tokenizer.add_special_tokens(special("<mask>", lstrip=True))
    tokenizer.post_processor = template(tokenizer, "<s> $A </s>", "<s>", "</s>")
    return tokenizer, {"tokenizer_class": "XLMRobertaTokenizer", "eos_token": "</s>"}


def bert(folder):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(folder), trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=names, limit_alphabet=200, show_progress=False))
    tokenizer.post_processor = template(tokenizer, "[CLS] $A [SEP]", "[CLS]", "[SEP]")
    return tokenizer, {"tokenizer_class": "BertTokenizer"}


def mixed(folder):
    """Every other component that can be read."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="@", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFD(), normalizers.StripAccents(),
                                                 normalizers.Lowercase(), normalizers.NFKD()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.Split("x", "merged_with_previous"), pre_tokenizers.Split(Regex("o+"), "merged_with_next"),
        pre_tokenizers.Split(Regex("[a-z]+"), "removed", invert=False), pre_tokenizers.Split("は", "isolated", invert=True)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("</w>", " "), decoders.Replace("@", ""), decoders.Fuse()])
    tokenizer.train_from_iterator(corpus(folder), trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", "</s>"], limit_alphabet=300, show_progress=False,
        continuing_subword_prefix="@", end_of_word_suffix="</w>"))
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}


def main():
    folder = pathlib.Path(sys.argv[1])
    texts = TEXTS + [line for line in corpus(folder)][::9]
    forms = {}
    for make in (gpt2, roberta, llama3, qwen, llama2, unigram, bert, mixed):
        name = make.__name__
        tokenizer, config = make(folder)
        (HERE / name).mkdir(exist_ok=True)
        (HERE / name / "tokenizer.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")
        (HERE / name / "tokenizer_config.json").write_text(json.dumps(config) + "\n", encoding="utf-8")
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        cut = [i for row in ids for i in row][::7]  # not what a text gives: pieces of characters
        forms[name] = {"size": tokenizer.get_vocab_size(), "ids": ids, "framed": tokenizer.encode("two apples").ids,
                       "decoded": [tokenizer.decode(row) for row in ids], "cut": cut, "decoded_cut": tokenizer.decode(cut)}
    rows = {"made_by": f"tokenizers {tokenizers.__version__}", "texts": texts, "forms": forms}
    (HERE / "json_forms.json").write_text(json.dumps(rows, ensure_ascii=True, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
