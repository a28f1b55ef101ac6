#!/usr/bin/env python3
"""Numeric oracle of LayAlign (arXiv 2502.11405) on Hugging Face transformers, float32 on CPU.

Every number the C++ system must reproduce can be had from here: encoder hidden states, losses, gradients of the
trainables, AdamW trajectories and greedy outputs. It runs one sample at a time, so nothing is ever padded.

make_cases.py makes the models and runs it for every case.

    python layalign_oracle.py --encoder DIR --llm DIR --out golden.safetensors [--structure Linear|MLP]
           [--mapping mlp|linear|none] [--aligner layer_wise|uniform_mean|none] [--gate scalar|dynamic|none] [--encoder-layers 0 1 2 ..] [--language-layers 0 1 ..] [--seed 0] [--samples 6] [--stage 1|2] [--steps 5] [--lr 1e-3] [--eps 1e-4]

Notation: E encoder layers used, L LLM layers used, De / D hidden sizes of encoder / LLM, S encoder tokens.
  hidden_states[0..n]   embedding output .. last (normed) layer; the default E layers are 0 .. n-1 (the reference's).
  mapping               De -> 2 De -> ReLU -> D, on the last hidden state; plus end_boundary [D].
  aligner               fc1: E -> 2L over the layer axis, ReLU, fc2: De -> D (MLP: ReLU, fc3: D -> D).
                        rows 2l and 2l+1 are the K- and V-state of the l-th adapted LLM layer.
  fusion, layer l       out = SelfAttn(x) + o_proj(gate_l * softmax(rope(q) . k_proj(K_l)^T / sqrt(dh)) v_proj(V_l)).
                        Where the layer normalises its heads (Qwen3): q = q_norm(q_proj(x)), and k_norm(k_proj(K_l)).
  LLM input             [bos, mapping(last hidden), end_boundary, (stage 2: prompt), target, eos]; loss on target+eos.
  ablations             mapping linear: De -> D; none: neither mapped tokens nor end_boundary. aligner uniform_mean: the mean
                        over the encoder layers takes the place of fc1 and its ReLU; none: no fusion, no gates. gate dynamic:
                        weight_l . x + bias_l of the hidden state x that q_proj reads, a number a token; none: 1.
"""
import argparse, json, types
import torch
import torch.nn as nn
import torch.nn.functional as F
import transformers as tf
from safetensors.torch import save_file


class Mapping(nn.Module):
    def __init__(self, de, d, kind="mlp"):
        super().__init__()
        self.linear1 = nn.Linear(de, 2 * de if kind == "mlp" else d)
        self.linear2 = nn.Linear(2 * de, d) if kind == "mlp" else None
        self.end_boundary = nn.Parameter(torch.zeros(d))

    def forward(self, h):
        return self.linear2(F.relu(self.linear1(h))) if self.linear2 is not None else self.linear1(h)


class Aligner(nn.Module):
    def __init__(self, e, l, de, d, structure="Linear", kind="layer_wise"):
        super().__init__()
        self.rows = 2 * l
        self.fc1, self.fc2 = nn.Linear(e, 2 * l) if kind == "layer_wise" else None, nn.Linear(de, d)
        self.fc3 = nn.Linear(d, d) if structure == "MLP" else None

    def forward(self, stack):                       # [E, S, De] -> [2L, S, D]
        if self.fc1 is not None:
            x = F.relu(self.fc1(stack.permute(1, 2, 0))).permute(2, 0, 1)
        else:
            x = stack.mean(0, keepdim=True).expand(self.rows, -1, -1)
        x = self.fc2(x)
        return self.fc3(F.relu(x)) if self.fc3 is not None else x


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


class LayAlign(nn.Module):
    def __init__(self, encoder, llm, encoder_layers=None, language_layers=None, structure="Linear", mapping="mlp",
                 aligner="layer_wise", gate="scalar"):
        super().__init__()
        self.encoder, self.llm = encoder, llm
        for p in self.parameters():
            p.requires_grad_(False)
        n = getattr(encoder.config, "num_layers", None) or encoder.config.num_hidden_layers
        de = getattr(encoder.config, "d_model", None) or encoder.config.hidden_size
        d = llm.config.hidden_size
        self.encoder_layers = list(range(n)) if encoder_layers is None else encoder_layers
        self.language_layers = list(range(llm.config.num_hidden_layers)) if language_layers is None else language_layers
        if aligner == "none":
            self.encoder_layers, self.language_layers = [], []
        e, l = len(self.encoder_layers), len(self.language_layers)
        self.mapping = Mapping(de, d, mapping) if mapping != "none" else None
        self.aligner = Aligner(e, l, de, d, structure, aligner) if aligner != "none" else None
        self.gates = None
        if aligner != "none" and gate == "scalar":
            self.gates = nn.Parameter(torch.zeros(l))
        elif aligner != "none" and gate == "dynamic":
            self.gates = nn.Linear(d, l)
        self.states = None
        for i, l in enumerate(self.language_layers):
            attn = llm.model.layers[l].self_attn
            attn.forward = types.MethodType(self._adapted(attn.forward, i), attn)

    def _adapted(self, self_attention, i):
        oracle = self

        def forward(attn, hidden_states, position_embeddings=None, **kw):
            out, weights = self_attention(hidden_states=hidden_states, position_embeddings=position_embeddings, **kw)
            if oracle.states is None:
                return out, weights
            dh = attn.head_dim
            heads = lambda x: x.view(1, x.shape[-2], -1, dh).transpose(1, 2)
            cos, sin = (t.unsqueeze(1) for t in position_embeddings)
            q = heads(attn.q_proj(hidden_states))
            k, v = heads(attn.k_proj(oracle.states[2 * i])), heads(attn.v_proj(oracle.states[2 * i + 1]))
            if hasattr(attn, "q_norm"):
                # The fusion uses the layer's own frozen projections, and the norms of Qwen3's heads are part of them:
                # its scores are made for normalised queries (before RoPE) and keys.
                q, k = attn.q_norm(q), attn.k_norm(k)
            q = q * cos + rotate_half(q) * sin
            rep = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(rep, 1), v.repeat_interleave(rep, 1)
            p = torch.softmax(q @ k.transpose(2, 3) / dh**0.5, dim=-1, dtype=torch.float32)
            if isinstance(oracle.gates, nn.Parameter):
                p = oracle.gates[i] * p
            fused = (p @ v).transpose(1, 2).reshape(1, hidden_states.shape[1], -1)
            if isinstance(oracle.gates, nn.Linear):
                fused = (hidden_states @ oracle.gates.weight[i] + oracle.gates.bias[i])[..., None] * fused
            return out + attn.o_proj(fused), weights
        return forward

    def encode(self, ids):                          # -> ([E, S, De], [S, De])
        with torch.no_grad():
            o = self.encoder(input_ids=torch.tensor([ids]), output_hidden_states=True)
        last = o.last_hidden_state[0]
        return torch.stack([o.hidden_states[i][0] for i in self.encoder_layers] or [last])[:len(self.encoder_layers)], last

    def prefix(self, source, prompt=None):
        stack, last = self.encode(source)
        if self.aligner is not None:
            self.states = self.aligner(stack)
        embed = self.llm.get_input_embeddings()
        parts = [embed(torch.tensor([self.llm.config.bos_token_id]))]
        if self.mapping is not None:
            parts += [self.mapping(last), self.mapping.end_boundary[None]]
        if prompt:
            parts.append(embed(torch.tensor(prompt)))
        return torch.cat(parts)

    def loss_sum(self, source, target, prompt=None):
        """Summed next-token cross-entropy over target (which ends with eos): a scalar, and the label logits."""
        pre = self.prefix(source, prompt)
        x = torch.cat([pre, self.llm.get_input_embeddings()(torch.tensor(target))])
        logits = self.llm(inputs_embeds=x[None], use_cache=False).logits[0, len(pre) - 1:-1].float()
        return F.cross_entropy(logits, torch.tensor(target), reduction="sum"), logits

    @torch.no_grad()
    def generate(self, source, prompt=None, max_new_tokens=16):
        x, out = self.prefix(source, prompt), []
        for _ in range(max_new_tokens):
            t = int(self.llm(inputs_embeds=x[None], use_cache=False).logits[0, -1].argmax())
            out.append(t)
            if t == self.llm.config.eos_token_id:
                break
            x = torch.cat([x, self.llm.get_input_embeddings()(torch.tensor([t]))])
        return out

    def trainables(self):
        return {k: p for k, p in self.named_parameters() if p.requires_grad}


def load_encoder(path):
    m = tf.AutoModel.from_pretrained(path, dtype=torch.float32)
    return (m.get_encoder() if m.config.is_encoder_decoder else m).eval()


def load(encoder, llm, **kw):
    return LayAlign(load_encoder(encoder),
                    tf.AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32, attn_implementation="eager").eval(),
                    **kw)


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.trainables().items():
            p.copy_(torch.randn(p.shape, generator=g) * (0.5 if name == "gates" or p.dim() == 1 else p.shape[-1] ** -0.5))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--encoder", required=True)
    ap.add_argument("--llm", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--structure", default="Linear", choices=["Linear", "MLP"])
    ap.add_argument("--mapping", default="mlp", choices=["mlp", "linear", "none"])
    ap.add_argument("--aligner", default="layer_wise", choices=["layer_wise", "uniform_mean", "none"])
    ap.add_argument("--gate", default="scalar", choices=["scalar", "dynamic", "none"])
    ap.add_argument("--encoder-layers", type=int, nargs="*")
    ap.add_argument("--language-layers", type=int, nargs="*")
    ap.add_argument("--stage", type=int, default=1, choices=[1, 2])
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--samples", type=int, default=6)
    ap.add_argument("--steps", type=int, default=5)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--eps", type=float, default=1e-4, help="large, so that AdamW does not amplify rounding of tiny gradients")
    a = ap.parse_args()
    torch.manual_seed(a.seed)
    m = load(a.encoder, a.llm, encoder_layers=a.encoder_layers, language_layers=a.language_layers, structure=a.structure,
             mapping=a.mapping, aligner=a.aligner, gate=a.gate)
    randomise(m, a.seed)
    g = torch.Generator().manual_seed(a.seed + 1)
    ids = lambda lo, hi, vocab: torch.randint(4, vocab, (int(torch.randint(lo, hi, (1,), generator=g)),), generator=g).tolist()
    ve, vl, eos = m.encoder.config.vocab_size, m.llm.config.vocab_size, m.llm.config.eos_token_id
    samples = [dict(source=ids(3, 14, ve), target=ids(2, 9, vl) + [eos], prompt=ids(4, 10, vl) if a.stage == 2 else [])
               for _ in range(a.samples)]
    out = {f"init.{k}": p.detach().clone() for k, p in m.trainables().items()}
    tokens = sum(len(s["target"]) for s in samples)
    total = 0.0
    for i, s in enumerate(samples):
        stack, last = m.encode(s["source"])
        out[f"sample{i}.encoder_layers"], out[f"sample{i}.encoder_last"] = stack, last
        loss, logits = m.loss_sum(**s)
        (loss / tokens).backward()
        out[f"sample{i}.loss_sum"], out[f"sample{i}.logits"] = loss.detach(), logits.detach()
        out[f"sample{i}.generate"] = torch.tensor(m.generate(s["source"], s["prompt"]))
        total += float(loss.detach())
    grads = {k: p.grad.clone() for k, p in m.trainables().items()}
    out |= {f"grad.{k}": v for k, v in grads.items()}
    # AdamW as in the reference, global-norm clip 1.0, constant lr; every step sees all samples, mean over label tokens
    opt = torch.optim.AdamW(m.trainables().values(), lr=a.lr, betas=(0.8, 0.999), eps=a.eps, weight_decay=3e-7)
    losses, norms = [], []
    for _ in range(a.steps):
        opt.zero_grad()
        loss = sum(m.loss_sum(**s)[0] for s in samples) / tokens
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(m.trainables().values(), 1.0)))
        opt.step()
        losses.append(float(loss.detach()))
    out |= {f"final.{k}": p.detach().clone() for k, p in m.trainables().items()}
    out["trajectory.loss"], out["trajectory.grad_norm"] = torch.tensor(losses), torch.tensor(norms)
    meta = dict(samples=json.dumps(samples), structure=a.structure, mapping=a.mapping, aligner=a.aligner, gate=a.gate, stage=str(a.stage), lr=str(a.lr), eps=str(a.eps),
                encoder_layers=json.dumps(m.encoder_layers), language_layers=json.dumps(m.language_layers),
                mean_loss=str(total / tokens), transformers=tf.__version__)
    save_file({k: v.contiguous() for k, v in out.items()}, a.out, metadata=meta)
    print(f"{a.out}: mean loss {total / tokens:.6f}, trajectory {losses[0]:.5f} -> {losses[-1]:.5f}, "
          f"grad norm {norms[0]:.4f}")


if __name__ == "__main__":
    main()
