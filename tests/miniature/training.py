"""What both trainers of the small experiment share: tokenizer, batches, optimizers, schedule, a state to go on from."""
import json
import pathlib
import random
import tempfile
import time

import sentencepiece
import torch
import transformers
from sentencepiece import sentencepiece_model_pb2

IGNORED = -100  # cross_entropy's label of positions that carry no loss


def train_tokenizer(sentences, folder, name, vocabulary, **options):
    with tempfile.TemporaryDirectory() as scratch:
        corpus = pathlib.Path(scratch) / "corpus.txt"
        corpus.write_text("\n".join(sentences) + "\n", encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=f"{scratch}/spm", vocab_size=vocabulary,
                                                 split_digits=True, num_threads=1, minloglevel=2, **options)
        (folder / name).write_bytes((pathlib.Path(scratch) / "spm.model").read_bytes())


class Tokenizer:
    """As transformers reads the folder, which is how the C++ reads it too; the spaces of user-defined pieces are text."""

    def __init__(self, folder, file, settings):
        model = sentencepiece_model_pb2.ModelProto.FromString((folder / file).read_bytes())
        model.trainer_spec.ClearField("input")  # where the text lay for a moment
        model.trainer_spec.ClearField("model_prefix")
        for piece in model.pieces:
            if piece.type == piece.USER_DEFINED:
                piece.piece = piece.piece.replace("\u2581", " ")
        (folder / file).write_bytes(model.SerializeToString())
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        self.settings = settings
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.size = len(self.tokenizer)

    def encode(self, text):
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def decode(self, ids):
        return self.tokenizer.decode(ids)


def padded(rows, value):
    return torch.tensor([row + [value] * (max(map(len, rows)) - len(row)) for row in rows])


def grouped_by_length(draw, size, rng):
    """Endless batches of drawn rows; rows of like length go together, so that little is padding."""
    while True:
        pool = sorted(draw(size * 16), key=lambda row: len(row[0]))
        batches = [pool[i:i + size] for i in range(0, len(pool), size)]
        rng.shuffle(batches)
        yield from batches


def save(model, folder, tokenizer_config):
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def optimizers_of(modules, lr):
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms and heads."""
    matrices, others = [], []
    for module in modules:
        for name, parameter in module.named_parameters():
            inside = parameter.ndim == 2 and name != "weight" and not any(word in name for word in ("embed", "shared", "lm_head", "bias"))
            (matrices if inside else others).append(parameter)
    return [torch.optim.Muon(matrices, lr=lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)]


def train(name, modules, loss_of_batch, steps, lr, state_file, evaluate, evaluate_every=200, seed=0):
    """Warm-up of 100 steps, constant, linear to 0 in the last 30 %.

    The state is kept every 50 steps of the constant part: the same call goes on from there, also with more steps.
    """
    optimizers = optimizers_of(modules, lr)
    cooling = int(0.7 * steps)
    done = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        done = state["step"]
        for part, saved in zip(modules + optimizers, state["parts"], strict=True):
            part.load_state_dict(saved)
        print(f"{name}: goes on from step {done}", flush=True)
    rng = random.Random(f"{seed} {done}")
    batches, recent, start = loss_of_batch(rng), [], time.time()
    for step in range(done + 1, steps + 1):
        scale = min(1.0, step / 100) * min(1.0, (steps - step + 1) / max(1, steps - cooling))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
            optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss, parts = next(batches)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for module in modules for p in module.parameters()], 1.0)
        for optimizer in optimizers:
            optimizer.step()
        recent.append(parts)
        if step % 50 == 0:
            means = [sum(column) / len(column) for column in zip(*recent)]
            print(f"{name}: step {step}/{steps}, losses {' '.join(f'{m:.3f}' for m in means)}, "
                  f"{time.time() - start:.0f} s", flush=True)
            recent.clear()
        if step % 50 == 0 and step <= cooling:
            state_file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"step": step, "parts": [part.state_dict() for part in modules + optimizers]}, f"{state_file}.new")
            state_file.with_name(state_file.name + ".new").replace(state_file)
        if step % evaluate_every == 0 or step == steps:
            for module in modules:
                module.eval()
            with torch.no_grad():
                print(f"{name}: step {step}/{steps}, {evaluate()}", flush=True)
            for module in modules:
                module.train()
