#!/usr/bin/env python3
"""What a user would run instead: LayAlign training steps in PyTorch + transformers, batched the way the public
reference is (pad the batch, materialise the aligner's whole output, project K/V per layer, full-vocabulary logits).

    python peer_bench.py --encoder DIR --llm DIR --batches batches.json [--threads 2] [--device cpu|cuda] [--dtype float32] [--init F | --save-init F]
    python peer_bench.py --make-models OUT          # medium models with random weights: mT5-small-like + 110M Llama
    python peer_bench.py --make-batches OUT.json --encoder DIR --llm DIR --data TSV_OR_JSONL ... [--micro-batch 8]

batches.json: {"batches": [[{"source": [ids], "prompt": [ids], "target": [ids]}, ...], ...]}; one optimiser step a batch (AdamW lr 1e-3, eps 1e-8, clip 1.0).
Prints one JSON line: median/min step seconds, label + input tokens a second (unpadded), peak RSS or CUDA MiB, loss of each step.
"""
import argparse, json, pathlib, resource, statistics, sys, time
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity" / "oracle"))
import layalign_oracle as lo
from safetensors.torch import load_file, save_file


class Batched(lo.LayAlign):
    """The same model on a padded batch. states: [2L, B, S, D]."""

    def _adapted(self, self_attention, i):
        oracle = self

        def forward(attn, hidden_states, position_embeddings=None, **kw):
            out, w = self_attention(hidden_states=hidden_states, position_embeddings=position_embeddings, **kw)
            dh, b = attn.head_dim, hidden_states.shape[0]
            heads = lambda x: x.view(b, x.shape[-2], -1, dh).transpose(1, 2)
            cos, sin = (t.unsqueeze(1) for t in position_embeddings)
            q = heads(attn.q_proj(hidden_states))
            q = q * cos + lo.rotate_half(q) * sin
            k, v = heads(attn.k_proj(oracle.states[2 * i])), heads(attn.v_proj(oracle.states[2 * i + 1]))
            rep = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(rep, 1), v.repeat_interleave(rep, 1)
            s = (q @ k.transpose(2, 3) / dh**0.5).masked_fill(~oracle.source_mask[:, None, None], float("-inf"))
            p = oracle.gates[i] * torch.softmax(s, dim=-1, dtype=torch.float32).to(q.dtype)
            return out + attn.o_proj((p @ v).transpose(1, 2).reshape(b, hidden_states.shape[1], -1)), w
        return forward

    def loss(self, batch, device):
        pad = lambda rows: torch.tensor([r + [0] * (max(map(len, rows)) - len(r)) for r in rows], device=device)
        src, n_src = pad([s["source"] for s in batch]), torch.tensor([len(s["source"]) for s in batch], device=device)
        self.source_mask = torch.arange(src.shape[1], device=device)[None] < n_src[:, None]
        with torch.no_grad():
            o = self.encoder(input_ids=src, attention_mask=self.source_mask.long(), output_hidden_states=True)
        stack = torch.stack([o.hidden_states[i] for i in self.encoder_layers])            # [E, B, S, De]
        x = F.relu(self.aligner.fc1(stack.permute(1, 2, 3, 0))).permute(3, 0, 1, 2)       # [2L, B, S, De]
        x = self.aligner.fc2(x)
        self.states = self.aligner.fc3(F.relu(x)) if self.aligner.fc3 is not None else x
        mapped, embed = self.mapping(o.last_hidden_state), self.llm.get_input_embeddings()
        bos = embed(torch.tensor([self.llm.config.bos_token_id], device=device))
        rows, labels = [], []
        for b, s in enumerate(batch):
            text = torch.tensor(s["prompt"] + s["target"], device=device)
            rows.append(torch.cat([bos, mapped[b, :n_src[b]], self.mapping.end_boundary[None], embed(text)]))
            labels.append([-100] * (len(rows[-1]) - len(s["target"])) + s["target"])
        n = max(map(len, rows))
        x = torch.stack([F.pad(r, (0, 0, n - len(r), 0)) for r in rows])                  # left padding
        mask = torch.tensor([[0] * (n - len(r)) + [1] * len(r) for r in rows], device=device)
        y = torch.tensor([[-100] * (n - len(l)) + l for l in labels], device=device)
        position = (mask.cumsum(-1) - 1).clamp(min=0)                                     # from each sample's own bos
        logits = self.llm(inputs_embeds=x, attention_mask=mask, position_ids=position, use_cache=False).logits.float()
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), y[:, 1:].flatten())


def make_models(out):
    import transformers as tf
    torch.manual_seed(0)
    out = pathlib.Path(out)
    tf.MT5ForConditionalGeneration(tf.MT5Config(vocab_size=32000, d_model=512, d_kv=64, d_ff=1024, num_layers=8,
        num_decoder_layers=1, num_heads=6, feed_forward_proj="gated-gelu")).save_pretrained(out / "encoder")
    tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=32000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
        num_attention_heads=12, max_position_embeddings=2048)).save_pretrained(out / "llm")


def make_batches(a):
    """Lengths from real text (one id per 3.2 UTF-8 characters of source, 4 of target), ids random: shapes are what counts."""
    g = torch.Generator().manual_seed(0)
    lengths = []
    for path in a.data:
        for line in open(path, encoding="utf-8"):
            text = json.loads(line)["m_query"] if path.endswith("jsonl") else line.split("\t")[0]
            lengths.append(max(4, int(len(text) / 3.2)))
    pick = lambda: lengths[int(torch.randint(len(lengths), (1,), generator=g))]
    ids = lambda n: torch.randint(4, 30000, (n,), generator=g).tolist()
    sample = lambda: (lambda n: dict(source=ids(n), prompt=ids(n + 30) if a.stage == 2 else [], target=ids(max(4, int(n * .8)))))(pick())
    json.dump({"batches": [[sample() for _ in range(a.micro_batch)] for _ in range(a.steps)]}, open(a.make_batches, "w"))


def main():
    ap = argparse.ArgumentParser()
    for f in ("--encoder", "--llm", "--batches", "--make-models", "--make-batches", "--init", "--save-init"):
        ap.add_argument(f)
    ap.add_argument("--data", nargs="*")
    ap.add_argument("--stage", type=int, default=1)
    ap.add_argument("--micro-batch", type=int, default=8)
    ap.add_argument("--steps", type=int, default=6)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--dtype", default="float32")
    a = ap.parse_args()
    if a.make_models:
        return make_models(a.make_models)
    if a.make_batches:
        return make_batches(a)
    torch.set_num_threads(a.threads)
    import transformers as tf
    m = Batched(lo.load_encoder(a.encoder), tf.AutoModelForCausalLM.from_pretrained(a.llm, dtype=torch.float32).eval())
    lo.randomise(m, 0)
    if a.init:                                      # trainables in the names of the oracle; --save-init writes them
        m.load_state_dict(load_file(a.init), strict=False)
    if a.save_init:
        save_file({k: p.detach().contiguous() for k, p in m.trainables().items()}, a.save_init)
    m = m.to(a.device)
    m.encoder.to(getattr(torch, a.dtype)), m.llm.to(getattr(torch, a.dtype))
    opt = torch.optim.AdamW(m.trainables().values(), lr=1e-3, betas=(0.8, 0.999), eps=1e-8, weight_decay=3e-7)
    times, losses, tokens = [], [], []
    for batch in json.load(open(a.batches))["batches"]:
        t = time.perf_counter()
        opt.zero_grad()
        with torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.dtype == "bfloat16"):
            loss = m.loss(batch, a.device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.trainables().values(), 1.0)
        opt.step()
        losses.append(round(float(loss.detach()), 5))
        times.append(time.perf_counter() - t)
        tokens.append(sum(2 + len(s["source"]) + len(s["prompt"]) + len(s["target"]) for s in batch))
    mem = torch.cuda.max_memory_allocated() / 2**20 if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = [n / t for n, t in zip(tokens, times)][1:]
    print(json.dumps(dict(step_s_median=round(statistics.median(times[1:]), 4), step_s_min=round(min(times[1:]), 4),
                          tokens_per_s=round(statistics.median(rate), 1), peak_mib=round(mem), losses=losses,
                          threads=a.threads, device=a.device, dtype=a.dtype)))


if __name__ == "__main__":
    main()
