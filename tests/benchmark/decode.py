#!/usr/bin/env python3
"""Decode speed on CPU: layalign-eval beside what a user would run instead, in one run and on the same inputs.

    python decode.py --program build/layalign-eval --work DIR [--threads 2] [--batch 8] [--new-tokens 64] [--runs 3]

The peer is transformers' greedy `generate` with a KV cache on a left-padded batch, LayAlign's fusion added to each attention as the
public code does it: the fusion's keys and values are projected again at every token. The models are medium ones with random weights
(mT5-small-like encoder, 110 M Llama), made in DIR once. Both must give the same tokens. Needs torch and transformers
(tests/miniature/requirements.txt). The programs run in turns, `--runs` times each. Prints one JSON line a program, and the median of
the ratios.
"""
import argparse, json, os, pathlib, re, resource, statistics, subprocess, sys, time

HERE = pathlib.Path(__file__).resolve().parent
EOS = 31999  # random weights do not choose it before the last token


def make_models(folder):
    import torch, transformers as tf
    torch.manual_seed(0)
    tf.MT5ForConditionalGeneration(tf.MT5Config(vocab_size=32000, d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_decoder_layers=1,
        num_heads=6, feed_forward_proj="gated-gelu")).save_pretrained(folder / "encoder")
    tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=32000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
        num_attention_heads=12, max_position_embeddings=2048, eos_token_id=EOS)).save_pretrained(folder / "llm")


def make_inputs(path, samples):
    import random
    generator = random.Random(0)
    ids = lambda n: [generator.randrange(4, 30000) for _ in range(n)]
    rows = [{"source": ids(generator.randint(20, 60)), "prompt": ids(generator.randint(40, 90))} for _ in range(samples)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def peer(args):
    """Runs in a process of its own: load, generate a little, generate, report."""
    sys.path.insert(0, str(HERE.parent / "parity" / "oracle"))
    import torch, torch.nn.functional as F, transformers as tf
    import layalign_oracle as lo
    from safetensors.torch import save_file

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
                s = (q @ k.transpose(2, 3) / dh**0.5).masked_fill(~oracle.source_mask[:, None, None], float("-inf"))
                p = oracle.gates[i] * torch.softmax(s, dim=-1, dtype=torch.float32)
                return out + attn.o_proj((p @ v).transpose(1, 2).reshape(b, hidden_states.shape[1], -1)), w
            return forward

        def generate(self, batch, new_tokens):
            pad = lambda rows: torch.tensor([r + [0] * (max(map(len, rows)) - len(r)) for r in rows])
            src, n_src = pad([s["source"] for s in batch]), torch.tensor([len(s["source"]) for s in batch])
            self.source_mask = torch.arange(src.shape[1])[None] < n_src[:, None]
            o = self.encoder(input_ids=src, attention_mask=self.source_mask.long(), output_hidden_states=True)
            stack = torch.stack([o.hidden_states[i] for i in self.encoder_layers])
            x = F.relu(self.aligner.fc1(stack.permute(1, 2, 3, 0))).permute(3, 0, 1, 2)
            self.states = self.aligner.fc2(x)
            mapped, embed = self.mapping(o.last_hidden_state), self.llm.get_input_embeddings()
            bos = embed(torch.tensor([self.llm.config.bos_token_id]))
            rows = [torch.cat([bos, mapped[b, :n_src[b]], self.mapping.end_boundary[None], embed(torch.tensor(s["prompt"]))])
                    for b, s in enumerate(batch)]
            n = max(map(len, rows))
            x = torch.stack([F.pad(r, (0, 0, n - len(r), 0)) for r in rows])
            mask = torch.tensor([[0] * (n - len(r)) + [1] * len(r) for r in rows])
            return self.llm.generate(inputs_embeds=x, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False,
                                     use_cache=True, pad_token_id=0).tolist()

    torch.set_num_threads(args.threads)
    model = Batched(lo.load_encoder(args.work / "encoder"), tf.AutoModelForCausalLM.from_pretrained(args.work / "llm", dtype=torch.float32).eval())
    lo.randomise(model, 0)
    trainables = args.work / "trainables.safetensors"
    save_file({k: p.detach().contiguous() for k, p in model.trainables().items()}, trainables)
    samples = [json.loads(line) for line in open(args.work / "inputs.jsonl")]
    with torch.no_grad():
        model.generate(samples[:args.batch], 2)
        start, ids = time.perf_counter(), []
        for i in range(0, len(samples), args.batch):
            ids += model.generate(samples[i:i + args.batch], args.new_tokens)
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "ids": ids, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def ours(args):
    config = {"model": {"encoder": str(args.work / "encoder"), "llm": str(args.work / "llm")}, "parallel": {"device": "cpu", "threads": args.threads},
              "stages": [{"corpus": {"format": "token_ids", "path": str(args.work / "inputs.jsonl")}}]}
    (args.work / "config.json").write_text(json.dumps(config))
    command = [args.program, args.work / "config.json", "--checkpoint", args.work / "trainables.safetensors", "--task", "token_ids",
               "--input", args.work / "inputs.jsonl", "--max-new-tokens", str(args.new_tokens), "--batch", str(args.batch), "--output", args.work / "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"layalign-eval failed:\n{text}")
    ids = [json.loads(line)["ids"] for line in open(args.work / "out" / "generated.jsonl")]
    return {"seconds": float(re.search(r"tokens in ([0-9.]+) s", text)[1]), "ids": ids, "peak_mib": usage.ru_maxrss / 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help="be the peer (started by this script)")
    args = parser.parse_args()
    if args.peer:
        return peer(args)
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / "llm").is_dir():
        make_models(args.work)
    make_inputs(args.work / "inputs.jsonl", args.samples)
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in vars(args).items() if key not in ("peer", "program")]
    command = [sys.executable, __file__, "--peer", *arguments]
    results = {"transformers": [], "layalign-eval": []}
    for _ in range(args.runs):  # in turns, so that what else the machine does falls on both
        peer_output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results["transformers"].append(json.loads(peer_output.splitlines()[-1]))
        results["layalign-eval"].append(ours(args))
    median = lambda name, key: statistics.median(result[key] for result in results[name])
    for name, found in results.items():
        tokens = sum(map(len, found[0]["ids"]))
        print(json.dumps({"program": name, "tokens": tokens, "tokens_per_s": round(tokens / median(name, "seconds"), 1),
                          "seconds": [round(result["seconds"], 3) for result in found], "peak_mib": round(median(name, "peak_mib"))}))
    pairs = list(zip(results["transformers"], results["layalign-eval"]))
    print(json.dumps({"same_ids": all(theirs["ids"] == mine["ids"] for theirs, mine in pairs),
                      "speed_ratio": round(statistics.median(theirs["seconds"] / mine["seconds"] for theirs, mine in pairs), 2),
                      "memory_ratio": round(median("layalign-eval", "peak_mib") / median("transformers", "peak_mib"), 2)}))


if __name__ == "__main__":
    main()
