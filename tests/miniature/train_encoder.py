#!/usr/bin/env python3
"""Train the small experiment's encoder: that of a translation model from ten languages into English.

    python train_encoder.py --llm ../../out/llm --out ../../out/encoder [--steps 3000] [--threads 1]

The decoder writes the tokens of the LLM's tokenizer (which --llm holds) and is thrown away. It sees the training problems in all
languages and GSM8K's short questions in the eight that have them, with numbers drawn anew. Goes on as train_llm.py does.
"""
import argparse
import json
import pathlib
import random

import torch
import torch.nn.functional as F
import transformers

from problems import HERE, LANGUAGES, LARGEST_VALUE, NUMERAL, ascii_digits, read_gsm8k, read_problems, redrawn, splits
from problems import svamp_style, translated_numbers
from training import IGNORED, Tokenizer, grouped_by_length, padded, save, train, train_tokenizer


def renumbered(text, language, rng):
    """(question, English question) of a parallel text with other numbers, where its numerals are those of the English."""
    question, english = translated_numbers(text, language), text["English"]
    if not question:
        return ascii_digits(text[language]), svamp_style(english)
    new = {number: str(rng.randint(1, LARGEST_VALUE)) for number in sorted(set(NUMERAL.findall(english)))}
    return (NUMERAL.sub(lambda m: new[m[0]], question), svamp_style(NUMERAL.sub(lambda m: new[m[0]], english)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    training, dev, _ = splits(read_problems(HERE / "data"))
    _, texts = read_gsm8k(longest=180)
    texts = [text for text in texts if len(text) > 1]
    sentences = [ascii_digits(p[language]) for p in training for language in LANGUAGES] * 2
    sentences += [text[language] for text in texts for language in text]
    train_tokenizer(sentences, arguments.out, "spiece.model", 6000, model_type="unigram", character_coverage=0.9995,
                    pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
                    user_defined_symbols=[str(number) for number in range(LARGEST_VALUE + 1)])
    tokenizer = Tokenizer(arguments.out, "spiece.model", {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512})
    english_tokenizer = Tokenizer(arguments.llm, "tokenizer.model",
                                  json.loads((arguments.llm / "tokenizer_config.json").read_text()))
    config = transformers.MT5Config(
        vocab_size=tokenizer.size, d_model=160, d_kv=32, d_ff=384, num_layers=4, num_decoder_layers=2,
        num_heads=5, dropout_rate=0.1, feed_forward_proj="gated-gelu")
    encoder = transformers.MT5EncoderModel(config)
    decoder = transformers.MT5Model(config).decoder
    english = torch.nn.Embedding(english_tokenizer.size, config.d_model)  # in, and tied, out

    def pair(question, english_question):
        return tokenizer.encode(question) + [1], [1] + english_tokenizer.encode(english_question) + [2]

    def drawn_pair(rng):
        if rng.random() < 0.6:
            drawn, language = redrawn(rng.choice(training), rng), rng.choice(LANGUAGES)
            if drawn and language in drawn:
                return pair(drawn[language], drawn["English"])
        text = rng.choice(texts)
        return pair(*renumbered(text, rng.choice(sorted(text)), rng))

    def loss_of(rows):
        """Cross-entropy of pairs (source ids, English ids); the embedding is tied to the output."""
        source, target = padded([s for s, _ in rows], 0), padded([t for _, t in rows], IGNORED)
        mask = (source != 0).long()
        states = encoder(input_ids=source, attention_mask=mask).last_hidden_state
        hidden = decoder(inputs_embeds=english(target[:, :-1].clamp(min=0)), encoder_hidden_states=states,
                         encoder_attention_mask=mask, use_cache=False).last_hidden_state
        labelled = target[:, 1:] != IGNORED
        logits = hidden[labelled] @ english.weight.T * config.d_model ** -0.5
        return F.cross_entropy(logits.float(), target[:, 1:][labelled])

    def batches(rng):
        for rows in grouped_by_length(lambda count: [drawn_pair(rng) for _ in range(count)], 48, rng):
            loss = loss_of(rows)
            yield loss, [float(loss.detach())]

    def evaluate():
        rng = random.Random(0)
        drawn = [redrawn(p, rng) for p in dev]
        losses = {language: float(loss_of([pair(d[language], d["English"]) for d in drawn if language in d])) for language in LANGUAGES}
        return "dev loss a token into English: " + ", ".join(f"{language} {loss:.3f}" for language, loss in losses.items())

    print(f"encoder: {sum(p.numel() for p in encoder.parameters())} parameters; a question takes", {
        language: round(sum(len(tokenizer.encode(ascii_digits(p[language]))) for p in dev) / len(dev)) for language in LANGUAGES}, flush=True)
    train("encoder", [encoder, decoder, english], batches, arguments.steps, arguments.lr, arguments.out / "state.pt", evaluate)
    config.is_encoder_decoder = True  # MT5EncoderModel clears it, but an mT5's own config says so
    save(encoder, arguments.out, tokenizer.settings)


if __name__ == "__main__":
    main()
