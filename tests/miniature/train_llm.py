#!/usr/bin/env python3
"""Train the small experiment's LLM: a Llama that reads English word problems and writes their equation.

    python train_llm.py --out ../../out/llm [--steps 3000] [--threads 1]

It sees the training problems in English alone, and GSM8K's short English questions. The same command goes on where it
was stopped, and with more --steps from the constant part of the learning rate. Each batch mixes problems with their
equation (numbers drawn anew, rare words exchanged), questions alone, and plain sums.
"""
import argparse
import collections
import pathlib
import random
import re

import torch
import torch.nn.functional as F
import transformers

from problems import HERE, LANGUAGES, LARGEST_VALUE, MATH_PROMPT, ascii_digits, infix, read_gsm8k, read_problems, redrawn
from problems import splits, svamp_style, written_value
from training import IGNORED, Tokenizer, grouped_by_length, padded, save, train, train_tokenizer

HEAD, TAIL = (part.replace(" ", "\u2581") for part in MATH_PROMPT.split("{query}"))
BOS, EOS = 1, 2


def make_tokenizer(problems, texts, folder):
    """Byte pairs of English, characters of the other languages; a number and each half of the prompt are one piece."""
    english = [p["English"] for p in problems] * 10 + [svamp_style(text["English"]) for text in texts]
    others = [ascii_digits(p[language]) for p in problems for language in LANGUAGES if language != "English"]
    train_tokenizer(english + others, folder, "tokenizer.model", 4000, model_type="bpe", byte_fallback=True,
                    character_coverage=0.995, unk_id=0, bos_id=BOS, eos_id=EOS, pad_id=-1,
                    normalization_rule_name="identity", remove_extra_whitespaces=False,
                    user_defined_symbols=[HEAD, TAIL, "=", *map(str, range(LARGEST_VALUE + 1))])
    return Tokenizer(folder, "tokenizer.model", {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 2048})


def exchanger(problems):
    """f(question, rng): rare words (names, things) exchanged for other rare ones, the same word always alike."""
    counts = collections.Counter(word for p in problems for word in set(re.findall(r"[a-z]{4,}", p["English"])))
    rare = sorted(word for word, count in counts.items() if count <= 8)
    known = set(rare)

    def exchange(question, rng):
        new = {word: rng.choice(rare) for word in sorted(set(question.split()) & known) if rng.random() < 0.5}
        return " ".join(new.get(word, word) for word in question.split(" "))
    return exchange


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="print the score of the test problems too, at the end")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    training, dev, test = splits(read_problems(HERE / "data"))
    gsm_problems, texts = read_gsm8k()
    tokenizer = make_tokenizer(training, texts, arguments.out)
    exchange = exchanger(training)
    msvamp = [{"English": p["English"], "equation": p["equation"]} for p in training]
    gsm = [{"English": svamp_style(p["English"]), "equation": p["equation"]} for p in gsm_problems]
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=tokenizer.size, hidden_size=192, intermediate_size=512, num_hidden_layers=5,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=2048, rms_norm_eps=1e-5,
        bos_token_id=BOS, eos_token_id=EOS, initializer_range=0.05,
        attn_implementation="eager"))  # short rows: faster on a CPU than the fused attention

    def prompt(question):
        return [BOS] + tokenizer.encode(MATH_PROMPT.format(query=question))

    def problem_row(rng):
        """(ids, where the equation begins, whether the question is real text)"""
        drawn = None
        while not drawn:
            drawn = redrawn(rng.choice(msvamp if rng.random() < 0.75 else gsm), rng, tries=60)
        real = rng.random() < 0.5
        ids = prompt(drawn["English"] if real else exchange(drawn["English"], rng))
        return ids + tokenizer.encode(drawn["target"]) + [EOS], len(ids), real

    def text_row(rng):
        text = redrawn(rng.choice(msvamp), rng) if rng.random() < 0.5 else None
        text = text["English"] if text else svamp_style(rng.choice(texts)["English"])
        return [BOS] + tokenizer.encode(text) + [EOS], None, True

    def sums_row(rng):
        ids = [BOS]
        while len(ids) < 45:
            equation = rng.choice(["{} n n", "{} n n", "{} n n", "{} {} n n n"])
            equation = equation.format(*(rng.choice("+-*/") for _ in range(2)))
            names = iter(range(3))
            equation = re.sub("n", lambda _: f"number{next(names)}", equation)
            sum_ = infix(equation, [rng.randint(1, rng.choice([10, 20, 50, 100])) for _ in range(3)])
            ids += tokenizer.encode(f"{sum_[0]} = {sum_[1]}") + [EOS] if sum_ else []
        return ids, None, False

    def batches(rng):
        def draw(count):
            return [(problem_row if i % 8 < 6 else text_row if i % 8 == 6 else sums_row)(rng) for i in range(count)]
        for rows in grouped_by_length(draw, 48, rng):
            ids = padded([r[0] for r in rows], EOS)
            answers, language = torch.full_like(ids, IGNORED), torch.full_like(ids, IGNORED)
            for i, (row, begin, real) in enumerate(rows):
                if begin is not None:
                    answers[i, begin:len(row)] = ids[i, begin:len(row)]
                if real:
                    language[i, 1:begin or len(row)] = ids[i, 1:begin or len(row)]
                elif begin is None:
                    answers[i, 1:len(row)] = ids[i, 1:len(row)]
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            losses = []
            for labels in (answers[:, 1:], language[:, 1:]):
                chosen = labels != IGNORED
                losses.append(F.cross_entropy(model.lm_head(hidden[chosen]).float(), labels[chosen]) if chosen.any()
                              else hidden.sum() * 0)
            yield losses[0] + 0.3 * losses[1], [float(loss.detach()) for loss in losses]

    def answers(questions, longest=14):
        prompts = [prompt(question) for question in questions]
        rows = [list(p) for p in prompts]
        for _ in range(longest):
            ids = padded(rows, EOS)
            with torch.autocast("cpu", torch.bfloat16):
                hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
                best = model.lm_head(hidden[range(len(rows)), [len(r) - 1 for r in rows]]).argmax(-1).tolist()
            rows = [row if len(row) > len(p) and row[-1] == EOS else row + [token] for row, p, token in zip(rows, prompts, best)]
        return [tokenizer.decode([t for t in row[len(p):] if t != EOS]) for row, p in zip(rows, prompts)]

    def score(problems, draws):
        rng = random.Random(0)
        wanted = [redrawn({"English": p["English"], "equation": p["equation"]}, rng) for p in problems for _ in range(draws)]
        wanted = [w for w in wanted if w]
        written = answers([w["English"] for w in wanted])
        operators = [re.sub(r"[^-+*/]", "", w["target"]) == re.sub(r"[^-+*/]", "", text) for w, text in zip(wanted, written)]
        values = [written_value(text) == w["value"] for w, text in zip(wanted, written)]
        results = [text.endswith(f"= {w['value']}") for w, text in zip(wanted, written)]
        return (f"operators {sum(operators) / len(wanted):.3f} equation {sum(values) / len(wanted):.3f} "
                f"result {sum(results) / len(wanted):.3f}")

    def evaluate():
        return f"dev: {score(dev, 4)}; training: {score(training[:80], 1)}"

    print(f"llm: {sum(p.numel() for p in model.parameters())} parameters; a question takes", {
        language: round(sum(len(tokenizer.encode(ascii_digits(p[language]))) for p in dev) / len(dev)) for language in LANGUAGES}, flush=True)
    train("llm", [model], batches, arguments.steps, arguments.lr, arguments.out / "state.pt", evaluate)
    save(model, arguments.out, tokenizer.settings)
    if arguments.test:
        model.float()
        with torch.no_grad():
            print("llm: test:", score(test, 4))


if __name__ == "__main__":
    main()
