#!/usr/bin/env python3
"""Make the two tiny frozen models of the quickstart from the text in data/: a multilingual encoder and an English LLM.

    pip install -r requirements.txt
    python make_models.py --out models [--steps 900 450] [--seed 0]

Both are Hugging Face folders, with bfloat16 weights and the SentencePiece tokenizer that belongs to them:
    OUT/encoder   mT5 encoder, trained as the encoder of a translation model from ten languages into English
    OUT/llm       Llama, trained on English only: the question alone, and the math prompt followed by the answer
The problems that held_out.txt names, in all languages, are kept out of the tokenizers and of the training; the
figures printed are of those problems. README.md says how the shipped folders were made.
"""
import argparse
import json
import math
import pathlib
import random
import re
import tempfile
import time

import sentencepiece as spm
import torch
import torch.nn.functional as F
import transformers

LANGUAGES = ["Bengali", "Chinese", "English", "French", "German", "Japanese", "Russian", "Spanish", "Swahili", "Thai"]
MATH_PROMPT = ("Below is an instruction that describes a task. Write a response that appropriately completes the request."
               "\n\n### Instruction:\n{query}\n\n### Response: Let's think step by step.")
IGNORED = -100  # cross_entropy's label of positions that carry no loss


# The text --------------------------------------------------------------------------------------------------------

def read_problems(data):
    """[{language: question, ..., "equation": prefix notation, "response": "8.0"}]; line i of every file is the same problem."""
    problems = []
    for language in LANGUAGES:
        with open(data / "msvamp" / f"test_{language}.jsonl", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        problems = problems or [{"equation": r["equation"], "response": r["response"]} for r in rows]
        for problem, row in zip(problems, rows, strict=True):
            problem[language] = row["m_query"]
    return problems


def evaluate(equation, numbers):
    """The value of an equation in prefix notation, such as "- number1 number0"."""
    stack = []
    for token in reversed(equation.split()):
        if token in "+-*/":
            a, b = stack.pop(), stack.pop()
            stack.append({"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else math.nan}[token])
        else:
            stack.append(numbers[int(token[6:])] if token.startswith("number") else float(token))
    return stack[0]


def renumbered(problem, language, rng):
    """(question, English question, answer) with other small numbers, the answer following from the equation.

    Nine hundred problems are few: without this the models learn sentences and answers by heart instead of reading
    the numbers. A translation that writes its numbers differently (words, Bengali digits) stays as it is.
    """
    question, english = problem[language], problem["English"]
    numbers = re.findall(r"[0-9]+", english)
    if sorted(numbers) == sorted(re.findall(r"[0-9]+", question)):
        for _ in range(8):
            new = {number: str(rng.randint(1, 20)) for number in sorted(set(numbers))}
            value = evaluate(problem["equation"], [int(new[number]) for number in numbers])
            if value > 0 and value == int(value):
                question, english = (re.sub(r"[0-9]+", lambda m: new[m[0]], text) for text in (question, english))
                return question, english, f"{value:.1f}"
    return question, english, problem["response"]


def train_tokenizer(sentences, folder, name, vocabulary, **options):
    with tempfile.TemporaryDirectory() as scratch:
        corpus = pathlib.Path(scratch) / "corpus.txt"
        corpus.write_text("\n".join(sentences) + "\n", encoding="utf-8")
        spm.SentencePieceTrainer.train(input=str(corpus), model_prefix=f"{scratch}/spm", vocab_size=vocabulary,
                                       split_digits=True, num_threads=1, minloglevel=2, **options)
        (folder / name).write_bytes((pathlib.Path(scratch) / "spm.model").read_bytes())
    return spm.SentencePieceProcessor(model_file=str(folder / name))


# Training --------------------------------------------------------------------------------------------------------

def padded(rows, value):
    return torch.tensor([row + [value] * (max(map(len, rows)) - len(row)) for row in rows])


def grouped_by_length(draw, size, rng):
    """Endless batches of drawn rows; rows of like length go together, so that little is padding."""
    while True:
        pool = sorted(draw(size * 16), key=lambda row: len(row[0]))
        batches = [pool[i:i + size] for i in range(0, len(pool), size)]
        rng.shuffle(batches)
        yield from batches


def train(name, parameters, loss_of_batch, steps, lr):
    """AdamW with 5 % warm-up and a cosine to zero."""
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.1)
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(
        (s + 1) / warmup, 0.5 * (1 + math.cos(math.pi * max(0, s - warmup) / max(1, steps - warmup)))))
    start, recent = time.process_time(), []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = loss_of_batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if step % 100 == 0 or step == steps:
            print(f"{name}: step {step}/{steps}, loss {sum(recent) / len(recent):.4f}, "
                  f"{time.process_time() - start:.0f} s of CPU", flush=True)
            recent.clear()


def save(model, folder, tokenizer_config):
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


# The encoder -----------------------------------------------------------------------------------------------------

def translation_loss(encoder, decoder, english, rows, reduction="mean"):
    """Cross-entropy of pairs (source ids, English ids); `english`: the decoder's embedding, tied to its output."""
    source, target = padded([s for s, _ in rows], 0), padded([t for _, t in rows], IGNORED)
    mask = (source != 0).long()
    states = encoder(input_ids=source, attention_mask=mask).last_hidden_state
    hidden = decoder(inputs_embeds=english(target[:, :-1].clamp(min=0)), encoder_hidden_states=states,
                     encoder_attention_mask=mask, use_cache=False).last_hidden_state
    labelled = target[:, 1:] != IGNORED
    logits = hidden[labelled] @ english.weight.T * english.embedding_dim ** -0.5
    return F.cross_entropy(logits.float(), target[:, 1:][labelled], reduction=reduction)


def make_encoder(problems, held_out, folder, english_tokenizer, steps, seed):
    """Trained as the encoder of a translation model whose decoder (thrown away) writes the LLM's English tokens."""
    tokenizer = train_tokenizer([p[language] for p in problems for language in LANGUAGES], folder, "spiece.model", 4000,
                                model_type="unigram", character_coverage=0.9995, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    config = transformers.MT5Config(
        vocab_size=tokenizer.get_piece_size(), d_model=128, d_kv=32, d_ff=256, num_layers=4, num_decoder_layers=1,
        num_heads=4, dropout_rate=0.0, feed_forward_proj="gated-gelu")
    encoder = transformers.MT5EncoderModel(config)
    decoder = transformers.MT5Model(config).decoder
    english = torch.nn.Embedding(english_tokenizer.get_piece_size(), config.d_model)  # in, and tied, out

    def pair(question, english_question):
        return tokenizer.encode(question) + [1], [1] + english_tokenizer.encode(english_question) + [2]

    def draw(count):
        drawn = [(rng.choice(problems), rng.choice(LANGUAGES)) for _ in range(count)]
        return [pair(*renumbered(p, language, rng)[:2]) for p, language in drawn]

    def loss(batch, reduction="mean"):
        return translation_loss(encoder, decoder, english, batch, reduction)

    rng = random.Random(seed)
    batches = grouped_by_length(draw, 32, rng)
    parameters = [*encoder.parameters(), *decoder.parameters(), *english.parameters()]
    train("encoder", parameters, lambda: loss(next(batches)), steps, 3e-3)
    config.is_encoder_decoder = True  # MT5EncoderModel clears it, but an mT5's own config says so
    config.dropout_rate = 0.1
    save(encoder, folder, {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512})
    encoder.float()
    with torch.no_grad():
        for language in LANGUAGES:
            batch = [pair(p[language], p["English"]) for p in held_out]
            mean = loss(batch, "sum") / sum(len(target) - 1 for _, target in batch)
            print(f"encoder: held-out loss a token into English from {language}: {mean:.4f}")


# The LLM ---------------------------------------------------------------------------------------------------------

def make_llm(problems, held_out, folder, steps, seed):
    """Returns its tokenizer."""
    tokenizer = train_tokenizer([p["English"] for p in problems] + MATH_PROMPT.split("\n"), folder, "tokenizer.model", 2000,
                                model_type="bpe", byte_fallback=True, character_coverage=1.0, unk_id=0, bos_id=1,
                                eos_id=2, pad_id=-1, add_dummy_prefix=True, normalization_rule_name="identity",
                                remove_extra_whitespaces=False)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=tokenizer.get_piece_size(), hidden_size=128, intermediate_size=320, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, rms_norm_eps=1e-5,
        bos_token_id=1, eos_token_id=2, initializer_range=0.06))

    def question_row(question):
        ids = [1] + tokenizer.encode(question) + [2]
        return ids, [IGNORED] + ids[1:]

    def answer_row(question, answer):
        prompt, target = [1] + tokenizer.encode(MATH_PROMPT.format(query=question)), tokenizer.encode(answer) + [2]
        return prompt + target, [IGNORED] * len(prompt) + target

    def loss(rows, reduction="mean"):
        ids, labels = padded([i for i, _ in rows], 2), padded([l for _, l in rows], IGNORED)[:, 1:]
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        return F.cross_entropy(model.lm_head(hidden[labels != IGNORED]), labels[labels != IGNORED], reduction=reduction)

    def batch_loss():
        drawn = [renumbered(p, "English", rng) for p in rng.sample(problems, 32)]
        return loss([question_row(q) for q, _, _ in drawn[:8]]) + loss([answer_row(q, a) for q, _, a in drawn[8:]])

    rng = random.Random(seed)
    train("llm", model.parameters(), batch_loss, steps, 3e-3)
    save(model, folder, {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True,
                         "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 2048})
    model.float()
    with torch.no_grad():
        for what, rows in (("question", [question_row(p["English"]) for p in held_out]),
                           ("answer", [answer_row(p["English"], p["response"]) for p in held_out])):
            mean = loss(rows, "sum") / sum(label != IGNORED for _, labels in rows for label in labels)
            print(f"llm: held-out loss a token of the {what}: {mean:.4f}, perplexity {math.exp(mean):.3f} "
                  f"(uniform: {tokenizer.get_piece_size()})")
    return tokenizer


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=here / "data")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, nargs=2, default=[900, 450], metavar=("ENCODER", "LLM"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the shipped folders were made with one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problems = read_problems(arguments.data)
    lines = (here / "held_out.txt").read_text().splitlines()
    unseen = {int(line) for line in lines if not line.startswith("#")}
    training = [p for line, p in enumerate(problems, 1) if line not in unseen]
    held_out = [p for line, p in enumerate(problems, 1) if line in unseen]
    for name in ("encoder", "llm"):
        (arguments.out / name).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    english_tokenizer = make_llm(training, held_out, arguments.out / "llm", arguments.steps[1], arguments.seed)
    torch.manual_seed(arguments.seed)
    make_encoder(training, held_out, arguments.out / "encoder", english_tokenizer, arguments.steps[0], arguments.seed)


if __name__ == "__main__":
    main()
